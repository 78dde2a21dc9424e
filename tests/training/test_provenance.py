import json

import pytest
import tensorflow as tf

from boxtune import onednn
from boxtune.config import pipeline_pb2
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import DataError
from boxtune.training import provenance


def write_records(path, *records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def fingerprint(path):
    with RecordIndex([path]) as index:
        return provenance.fingerprints(index)[str(path)]


def test_a_fingerprint_counts(tmp_path):
    found = fingerprint(write_records(tmp_path / "a.tfrecord", b"one", b"three"))
    # A record has 12 bytes before and 4 behind it.
    assert (found["bytes"], found["records"]) == (2 * 16 + 8, 2)


def test_a_fingerprint_changes_with_any_byte(tmp_path):
    records = [[b"one", b"two"], [b"one", b"twp"], [b"ope", b"two"], [b"two", b"one"], [b"one"], [b"onetwo"]]
    hashes = [
        fingerprint(write_records(tmp_path / f"{i}.tfrecord", *given))["sha256_of_checksums"]
        for i, given in enumerate(records)
    ]
    assert len(set(hashes)) == len(records)
    assert fingerprint(write_records(tmp_path / "again", *records[0]))["sha256_of_checksums"] == hashes[0]


def test_each_file_has_its_own(tmp_path):
    paths = [write_records(tmp_path / name, name.encode()) for name in ("a", "b")]
    with RecordIndex(paths) as index:
        assert provenance.fingerprints(index) == {str(path): fingerprint(path) for path in paths}


def test_an_entry_has_all_that_reproduces_the_run(tmp_path):
    with RecordIndex([write_records(tmp_path / "a", b"one")]) as index:
        entry = provenance.entry(7, 300, {"training": index})
    assert (entry["seed"], entry["step"]) == (7, 300)
    assert entry["versions"]["tensorflow"] == tf.__version__
    assert entry["versions"].keys() == {"boxtune", "python", "tensorflow", "keras", "backend", "numpy"}
    assert entry["oneDNN"] == ("on" if onednn.is_on() else "off")
    assert entry["data"]["training"].keys() == {str(tmp_path / "a")}
    assert isinstance(entry["command"], list)
    provenance.write(tmp_path / "run.json", [entry])
    assert provenance.read(tmp_path / "run.json") == [entry]
    assert provenance.differences(entry, json.loads(json.dumps(entry))) == []


def entry(seed=0, **files):
    return {"time": "t", "step": 1, "seed": seed, "versions": {"keras": "3.15"}, "data": {"training": files}}


def test_differences():
    before = entry(a={"records": 3, "bytes": 9}, b={"records": 1})
    now = entry(7, a={"records": 4, "bytes": 9}) | {"time": "later", "step": 9}
    assert provenance.differences(before, now) == [
        "seed: 0 → 7",
        "data training a records: 3 → 4",
        "data training b records: 1 → absent",
    ]


def test_other_kernels_are_a_difference_of_the_last_bits():
    assert provenance.differences(entry() | {"oneDNN": "off"}, entry() | {"oneDNN": "on"}) == [
        "oneDNN: off → on (other kernels: the last bits will differ)"
    ]
    assert provenance.differences(entry() | {"oneDNN": "on"}, entry() | {"oneDNN": "on"}) == []


def test_differences_of_configurations():
    before, now = pipeline_pb2.TrainEvalPipelineConfig(), pipeline_pb2.TrainEvalPipelineConfig()
    before.train_config.batch_size = 8
    now.train_config.batch_size = 4
    now.eval_input_reader.add(name="new")
    before.train_input_reader.tf_record_input_reader.input_path[:] = ["a", "b"]
    now.train_input_reader.tf_record_input_reader.input_path[:] = ["a"]
    assert provenance.config_differences(before, now) == [
        "train_config.batch_size: 8 → 4",
        "train_input_reader.tf_record_input_reader.input_path[1]: b → absent",
        "eval_input_reader[0].name: absent → new",
    ]
    assert provenance.config_differences(now, now) == []


def test_no_file(tmp_path):
    assert provenance.read(tmp_path / "run.json") == []


@pytest.mark.parametrize(
    "junk", [b"", b"junk", b"{}", b"[1]", b"\xff", b"[" * 100_000], ids=lambda junk: repr(junk)[:9]
)
def test_a_damaged_file(tmp_path, junk):
    (tmp_path / "run.json").write_bytes(junk)
    with pytest.raises(DataError, match=r"run\.json"):
        provenance.read(tmp_path / "run.json")
