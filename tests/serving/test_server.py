"""A server as its clients see it: answers, refusals, and what it does with many at a time."""

import json
import re
import socket
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

import patience
from boxtune.errors import CheckpointError
from boxtune.load import load
from boxtune.serving.limits import Limits
from serving.red_model import CAT, DOG, picture
from serving.running import FORM, HOST, form, half_sent, said

pytestmark = pytest.mark.usefixtures("graphs_as_traced")


def bomb(width=20_000, height=20_000):
    """Return a PNG of black pixels that is much smaller than they are."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compressobj()
    data = b"".join(rows.compress(bytes(1 + 3 * width)) for _ in range(height // 100)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class TestDetections:
    def test_one_image_as_the_body(self, server):
        for headers in ({"Content_Type": "image/png"}, {"Content_Type": "application/octet-stream"}, {}):
            reply = server.ask("/detect", picture(204), method="POST", **headers)
            (image,) = reply.images
            assert reply.status == 200
            assert (image["name"], image["width"], image["height"]) == ("the image", 40, 20)
            (dog,) = image["detections"]
            assert dog == {
                "name": DOG,
                "score": pytest.approx(0.8),
                "ymin": 0,
                "xmin": 0,
                "ymax": 10,
                "xmax": 20,
            }
            assert image["seconds"] >= 0

    def test_several_are_answered_in_their_order(self, server):
        reds = [10 * number for number in range(16)]
        images = server.detect(*map(picture, reds), query="?min_score=0").images
        assert [image["name"] for image in images] == [f"a{number}.png" for number in range(16)]
        assert [round(255 * image["detections"][0]["score"]) for image in images] == reds

    def test_as_load_finds_them(self, server, exported, tmp_path):
        rng = np.random.default_rng(0)
        exif = Image.Exif()
        exif[0x0112] = 6
        paths = []
        for number, ending in enumerate(("jpg", "png", "webp", "tif", "bmp")):
            noise = Image.fromarray(rng.integers(0, 255, (30 + number, 50, 3), np.uint8))
            paths.append(tmp_path / f"{number}.{ending}")
            noise.save(paths[-1], exif=exif) if ending != "bmp" else noise.save(paths[-1])
        for min_score in (None, 0, 0.3, 1):
            query = "" if min_score is None else f"?min_score={min_score}"
            images = server.detect(*(path.read_bytes() for path in paths), query=query).images
            for image, found in zip(images, load(exported)(paths, min_score=min_score), strict=True):
                assert (image["width"], image["height"]) == (found.width, found.height)
                assert image["detections"] == [vars(one) for one in found]

    def test_thresholds_of_the_model_count_unless_a_score_is_given(self, server):
        found = [
            [one["name"] for one in server.detect(picture(150), query=query).images[0]["detections"]]
            for query in ("", "?min_score=0.2", "?min_score=0.5")
        ]
        assert found == [[], [DOG, CAT], [DOG]]

    def test_names_of_any_kind(self, server):
        names = ["\N{GREEK SMALL LETTER ALPHA}.png", "../../etc/passwd", "<img src=x>.png", "x" * 500, ""]
        body = form(*[picture(1)] * 5, names=names)
        images = server.ask("/detect", body, Content_Type=FORM).images
        assert [image["name"] for image in images] == [*names[:3], "x" * 400 + "...", "image 5"]

    def test_a_file_that_is_none_does_not_hide_the_others(self, server, logged):
        first, second = server.detect(b"text", picture(204), query="?min_score=0.6").images
        assert first == {"name": "a0.png", "error": first["error"]}
        assert "a0.png: it cannot be decoded: it is no image of a known format" in first["error"]
        assert len(second["detections"]) == 1

    def test_by_clients_at_the_same_time(self, serve):
        server = serve()
        wrong = []

        def client(number):
            for turn in range(12):
                red = (29 * number + 17 * turn) % 256
                (image,) = server.detect(picture(red, width=20 + turn), query="?min_score=0").images
                score = image["detections"][0]["score"]
                if (round(255 * score), image["width"]) != (red, 20 + turn):
                    wrong.append((red, image))

        threads = [threading.Thread(target=client, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert server.value("boxtune_images_total") == 96
        patience.wait_until(lambda: server.value("boxtune_images_waiting") == 0)
        assert server.value("boxtune_held_bytes") == 0

    def test_what_waits_is_looked_at_together(self, server):
        server.model.may_go_on.clear()
        threads = [threading.Thread(target=server.detect, args=[picture(9)] * count) for count in (1, 5, 4)]
        threads[0].start()
        assert server.model.asked.wait(patience.SECONDS)
        for thread in threads[1:]:
            thread.start()
        patience.wait_until(lambda: server.value("boxtune_images_waiting") == 10)
        patience.wait_until(lambda: server.pipeline._decoded.qsize() == 9)
        server.model.may_go_on.set()
        for thread in threads:
            thread.join()
        assert server.model.given == [1, 8, 1]


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "path", "status", "message"),
        [
            ("GET", "/nothing", 404, r'there is no "/nothing" here; there are /, /detect, /health'),
            ("GET", "/docs", 404, "there is no"),
            ("GET", "/%1b[2J%0a", 404, r'there is no "/\\x1b\[2J\\n" here'),
            ("GET", "/detect", 405, "/detect does not take GET; it takes POST"),
            ("DELETE", "/", 405, "/ does not take DELETE; it takes GET, HEAD"),
            ("POST", "/detect?min_score=high", 422, "min_score is 'high'; give a number from 0 to 1"),
            ("POST", "/detect?min_score=nan", 422, "min_score is 'nan'; give a number from 0 to 1"),
            ("POST", "/detect?min_score=2", 422, "min_score is '2'; give a number from 0 to 1"),
            ("POST", "/detect?minscore=0", 422, r'no parameter "minscore"\. Did you mean "min_score"\?'),
        ],
    )
    def test_what_is_asked_wrongly(self, server, logged, method, path, status, message):
        reply = server.ask(path, method=method)
        assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
        assert re.search(message, reply.error)
        (line,) = logged.messages
        assert line.startswith(f"{method} /")
        assert "min_score=" not in line

    @pytest.mark.parametrize(
        ("body", "content_type", "status", "message"),
        [
            (b"", "image/png", 422, "the body of the request is empty: send an image as the body"),
            (b"{}", "application/json", 415, 'the Content-Type is "application/json": send an image as the body'),
            (b"a=b", "application/x-www-form-urlencoded", 415, "x-www-form-urlencoded"),
            (b"text", "image/png", 422, "the image: it cannot be decoded: it is no image of a known format"),
            (b"<html>", "image/png", 422, "it is a web page"),
            (b"\0" * 9, "image/png", 422, "holds nothing but zeros"),
            (picture(1)[:50], "image/png", 422, "it is damaged PNG|PNG that is cut short"),
            (form(), FORM, 422, "the form has no file: send an image as the body"),
            (form(picture(1))[:-10], FORM, 400, "is cut short: its last boundary is missing"),
            (b"no form", FORM, 400, "the multipart/form-data is damaged"),
            (form(picture(1)), "multipart/form-data", 400, "has no boundary"),
            (form(picture(1)), f"multipart/form-data; boundary={'b' * 300}", 400, "is damaged"),
            (form(picture(1)).replace(b'; filename="a0.png"', b""), FORM, 422, 'the form has "image", which is no'),
            (form(picture(1), b"").replace(b'; filename="a1.png"', b""), FORM, 422, "min_score in the address"),
            (form(b""), FORM, 422, "a0.png: it cannot be decoded: the file is empty"),
        ],
    )  # fmt: skip
    def test_bodies_that_are_no_images(self, server, logged, body, content_type, status, message):
        reply = server.ask("/detect", body, Content_Type=content_type)
        assert (reply.status, bool(re.search(message, reply.error))) == (status, True), reply
        assert len(logged.messages) == 1
        assert server.detect(picture(1)).status == 200

    def test_a_compressed_body(self, server, logged):
        reply = server.ask("/detect", picture(1), Content_Encoding="gzip")
        assert (reply.status, reply.error) == (
            415,
            'the Content-Encoding is "gzip". Send the images as they are',
        )

    def test_types_are_not_believed(self, server):
        """A PNG that is called a JPEG, and whose name says that it is text."""
        body = form(picture(255), names=["a.txt"]).replace(
            b"\r\n\r\n", b"\r\nContent-Type: image/jpeg\r\n\r\n", 1
        )
        assert len(server.ask("/detect", body, Content_Type=FORM).images[0]["detections"]) == 2

    def test_a_bomb(self, server, logged):
        data = bomb()
        assert len(data) < 2**20
        reply = server.ask("/detect", data, Content_Type="image/png")
        assert reply.status == 413
        assert reply.error == "the image: it has far too many pixels, over the limit of 50 megapixels."

    def test_pixels(self, serve, logged):
        server = serve(image_pixels=1000)
        assert server.detect(picture(1, width=50, height=20)).status == 200
        reply = server.detect(picture(1, width=50, height=21))
        assert (reply.status, reply.error) == (
            413, "a0.png: it has 50 x 21 pixels, over the limit of 0.001 megapixels.",
        )  # fmt: skip

    def test_many_images_of_all_pixels_that_may_be_in_memory(self, serve):
        server = serve(image_pixels=800)
        images = server.detect(*[picture(9), picture(8, width=10)] * 8, query="?min_score=0").images
        assert [round(255 * image["detections"][0]["score"]) for image in images] == [9, 8] * 8

    def test_bytes_of_an_image_and_number_of_images(self, serve, logged):
        server = serve(image_bytes=1000, images=2)
        reply = server.detect(picture(1) + bytes(1000))
        assert (reply.status, reply.error) == (
            413, "a0.png: it has more than 1,000 bytes. Send a smaller one",
        )  # fmt: skip
        reply = server.detect(*[picture(1)] * 3)
        assert (reply.status, reply.error) == (
            413, "the request has more than 2 images. Send fewer at a time",
        )  # fmt: skip

    @pytest.mark.parametrize("chunked", [False, True])
    def test_bytes_of_a_request(self, serve, logged, chunked):
        server = serve(request_bytes=2**20)
        body = (bytes(2**16) for _ in range(64)) if chunked else bytes(2**22)
        reply = server.ask("/detect", body, method="POST", Content_Type="image/png")
        assert reply.status == 413
        assert reply.error == "the request has more than 1 MiB. Send smaller images, or fewer at a time"
        assert server.value("boxtune_held_bytes") == 0

    def test_a_client_that_waits_to_be_told_is_answered_at_once(self, serve, logged):
        with serve(request_bytes=1000).connect() as connection:
            connection.sendall(
                b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
                b"Content-Length: 2000\r\nExpect: 100-continue\r\n\r\n"
            )
            assert said(connection)[0] == 413

    def test_too_many_images_wait(self, serve, logged):
        server = serve(waiting=2, images=2)
        server.model.may_go_on.clear()
        first = threading.Thread(target=server.detect, args=[picture(1)])
        first.start()
        assert server.model.asked.wait(patience.SECONDS)
        reply = server.detect(picture(1), picture(1))
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.error == "1 of 2 images that may wait are waiting. Try again in a moment"
        server.model.may_go_on.set()
        first.join()
        assert server.detect(picture(1), picture(1)).status == 200

    def test_too_many_bytes_are_held(self, serve, logged):
        server = serve(request_bytes=2**16)
        with half_sent(server, 4, 2**16 - 1):
            patience.wait_until(lambda: server.value("boxtune_held_bytes") == 4 * (2**16 - 2))
            reply = server.ask("/detect", bytes(1000), Content_Type="image/png")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "the requests under way hold 0.25 MiB, which is all that they may" in reply.error
        patience.wait_until(lambda: server.value("boxtune_held_bytes") == 0)

    def test_a_model_that_fails(self, server, logged):
        server.model.error = CheckpointError("the image: detection_scores of the model are not finite")
        server.model.may_go_on.clear()
        replies = {}
        threads = [
            threading.Thread(target=lambda red=red: replies.update({red: server.detect(picture(red))}))
            for red in (1, 13, 2)
        ]
        threads[0].start()
        assert server.model.asked.wait(patience.SECONDS)
        for thread in threads[1:]:
            thread.start()
        patience.wait_until(lambda: server.pipeline._decoded.qsize() == 2)
        server.model.may_go_on.set()
        for thread in threads:
            thread.join()
        assert {red: reply.status for red, reply in replies.items()} == {1: 200, 13: 500, 2: 200}
        assert replies[13].error == "the image: detection_scores of the model are not finite"

    def test_a_fault_of_the_server_is_logged_with_where_it_lies(self, server, logged):
        server.model.error = ZeroDivisionError("a fault")
        reply = server.detect(picture(13))
        assert (reply.status, reply.error) == (500, "the server has failed; its log says how")
        patience.wait_until(lambda: logged.records)
        (record,) = logged.records
        assert record.message == "POST /detect failed"
        assert record.exc_info[0] is ZeroDivisionError
        assert server.detect(picture(1)).status == 200


class TestTime:
    def test_an_answer_that_takes_too_long(self, serve, logged):
        server = serve(answer_seconds=0.05)
        server.model.may_go_on.clear()
        reply = server.detect(picture(1))
        assert (reply.status, reply.headers["retry-after"]) == (504, "1")
        assert reply.error == "there was no answer within 0.05 seconds. Try again in a moment"

    def test_what_nobody_waits_for_is_not_looked_at(self, serve):
        server = serve()
        server.model.may_go_on.clear()
        first = threading.Thread(target=server.detect, args=[picture(1)])
        first.start()
        assert server.model.asked.wait(patience.SECONDS)
        with server.connect() as connection:
            body = form(*[picture(2)] * 3)
            head = f"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}"
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            patience.wait_until(lambda: server.value("boxtune_images_waiting") == 4)
        patience.wait_until(lambda: server.value("boxtune_images_waiting") == 1)
        assert server.value("boxtune_requests_abandoned_total") == 1
        server.model.may_go_on.set()
        first.join()
        assert server.detect(picture(3)).status == 200
        assert server.model.given == [1, 1]

    def test_a_body_that_comes_too_slowly(self, serve, logged):
        with serve(receive_seconds=0.2).connect() as connection:
            connection.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nslow")
            status, answer = said(connection)
        assert status == 408
        assert "has not arrived within 0.2 seconds" in answer["error"]

    @pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: local"])
    def test_first_lines_that_come_too_slowly(self, serve, logged, sent):
        with serve(receive_seconds=0.2).connect() as connection:
            connection.sendall(sent)
            status, answer = said(connection)
        assert status == 408
        assert "has not arrived within 0.2 seconds" in answer["error"]

    def test_the_second_request_of_a_connection_comes_too_slowly(self, serve, logged):
        with serve(receive_seconds=0.2).connect() as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            patience.wait_until(lambda: b"ok" in connection.recv(4096, socket.MSG_PEEK))
            connection.recv(4096)
            connection.sendall(b"GET")
            assert said(connection)[0] == 408

    def test_a_body_that_is_cut(self, serve, logged):
        server = serve()
        with server.connect() as connection:
            connection.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
            connection.shutdown(socket.SHUT_WR)
            assert said(connection) == (400, {"error": "the body ends before it is whole. Send it again"})
        patience.wait_until(lambda: server.value("boxtune_requests_abandoned_total") == 1)
        assert logged.messages == ["a connection: 400: the body ends before it is whole. Send it again"]

    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000,
            b"POST /detect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
        ],
    )
    def test_what_is_no_request(self, server, logged, sent):
        with server.connect() as connection:
            connection.sendall(sent)
            assert said(connection) == (400, {"error": "this cannot be read as a request of HTTP/1.1"})
        assert logged.messages == ["a connection: 400: this cannot be read as a request of HTTP/1.1"]
        assert server.ask("/health").status == 200

    def test_too_many_connections(self, serve, logged, monkeypatch):
        server = serve()
        monkeypatch.setattr("boxtune.serving.connection.MOST_CONNECTIONS", 2)
        with server.connect(), server.connect():
            patience.wait_until(lambda: len(server.server.server_state.connections) == 2)
            with server.connect() as connection:
                assert said(connection)[0] == 503
        patience.wait_until(lambda: not server.server.server_state.connections)
        assert server.ask("/health").status == 200

    def test_a_stop_answers_what_is_under_way_and_takes_nothing_new(self, serve):
        server = serve()
        server.model.may_go_on.clear()
        replies = []
        threads = [
            threading.Thread(target=lambda: replies.append(server.detect(picture(255)))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        patience.wait_until(lambda: server.value("boxtune_images_waiting") == 3)
        server.server.should_exit = True
        patience.wait_until(lambda: not refuses_nothing(server))
        server.model.may_go_on.set()
        for thread in threads:
            thread.join()
        assert [len(reply.images[0]["detections"]) for reply in replies] == [2, 2, 2]


def refuses_nothing(server):
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


class TestWhoMayAsk:
    def test_a_page_whose_name_was_turned_to_this_machine(self, server, logged):
        for host in (
            "evil.example",
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "[",
        ):
            reply = server.ask("/", Host=host)
            assert (reply.status, f'the Host is "{host}"; without a token' in reply.error) == (403, True)
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8000"):
            assert server.ask("/health", Host=host).status == 200

    def test_a_page_of_another_server(self, server, logged):
        for origin in ("https://evil.example", "null", f"http://{HOST}:1", "http://["):
            reply = server.detect(picture(1), Origin=origin)
            assert (reply.status, f'a page of "{origin}" asks' in reply.error) == (403, True)
        assert server.detect(picture(1), Origin=f"http://{HOST}:{server.port}").status == 200

    def test_with_a_token(self, serve, logged):
        server = serve(token="a-good-token")
        for path in ("/", "/?token=another", "/?token=", "/model", "/metrics", "/openapi.json", "/nothing"):
            assert server.ask(path).status == 401
        assert server.ask("/model?token=a-good-token").status == 401
        for given in ("Bearer another", "Bearer", "Basic a-good-token", "a-good-token", "Bearer \xe9"):
            reply = server.detect(picture(1), Authorization=given)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert "send it as Authorization: Bearer TOKEN, or open /?token=TOKEN" in reply.error
        assert server.ask("/health").status == 200
        assert server.ask("/?token=a-good-token", Host="owls.example").status == 200
        assert server.detect(picture(1), Authorization="bearer a-good-token").status == 200
        assert "a-good-token" not in logged.text

    def test_headers_that_keep_others_out(self, server):
        page = server.ask("/")
        assert "default-src 'none'; script-src 'sha256-" in page.headers["content-security-policy"]
        assert "access-control-allow-origin" not in page.headers
        health = server.ask("/health")
        assert health.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        for reply in (page, health):
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert "server" not in reply.headers


class TestAbout:
    def test_the_model(self, server):
        about = json.loads(server.ask("/model").text)
        assert (about["model"], about["names"], about["thresholds"]) == (
            "reds",
            [CAT, DOG],
            {CAT: 0.5, DOG: 0.7},
        )
        assert about["limits"]["images"] == Limits().images

    def test_health(self, server):
        assert json.loads(server.ask("/health").text) == {"status": "ok"}
        assert server.ask("/health", method="HEAD").text == ""

    def test_metrics(self, serve, logged):
        server = serve()
        server.detect(picture(255), picture(255))
        server.ask("/secret")
        reply = server.ask("/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=")
        for line in (
            'boxtune_requests_total{path="/detect",status="200"} 1.0',
            'boxtune_requests_total{path="other",status="404"} 1.0',
            "boxtune_images_total 2.0",
            "boxtune_detections_total 4.0",
            "boxtune_images_waiting 0.0",
            "boxtune_image_seconds_count 2.0",
        ):
            assert line in reply.text.splitlines()

    def test_the_description_of_what_can_be_asked(self, server):
        described = json.loads(server.ask("/openapi.json").text)
        assert [*described["paths"]] == ["/detect", "/health", "/model", "/metrics"]
        detect = described["paths"]["/detect"]["post"]
        assert [*detect["requestBody"]["content"]] == [
            "multipart/form-data",
            "image/*",
            "application/octet-stream",
        ]
        assert {"200", "413", "503"} <= {*detect["responses"]}
        assert "{" in json.dumps(described["components"]["schemas"]["Detection"])

    def test_names_reach_the_page_as_data_only(self, server):
        page = server.ask("/").text
        assert CAT not in page
        assert json.dumps(CAT)[1:4] in page


@pytest.mark.parametrize("field", ["request_bytes", "images", "receive_seconds"])
def test_limits_that_allow_nothing(field):
    with pytest.raises(Exception, match=f"the limit {field} is 0; give a number above 0"):
        Limits(**{field: 0})
