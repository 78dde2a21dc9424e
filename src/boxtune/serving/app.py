"""What a server answers: the page, detections, what the model is, and how it is."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

import boxtune
from boxtune.errors import BoxtuneError, did_you_mean, printable
from boxtune.evaluation.exported import SAVED_MODEL
from boxtune.evaluation.min_scores import MIN_SCORE, MinScores, same_for_all
from boxtune.load import Detection, Model
from boxtune.serving.bodies import Upload, read_uploads
from boxtune.serving.guard import CLIENT_GONE, Guard, refusal
from boxtune.serving.limits import Limits, RefusedError, Room, busy
from boxtune.serving.metrics import Metrics
from boxtune.serving.page import page
from boxtune.serving.pipeline import Answer, Pipeline
from boxtune.training.run_state import BEST, EXPORTED

_PARAMETERS = ("min_score",)
_UNNAMED = (EXPORTED, SAVED_MODEL, BEST)


class ImageAnswer(BaseModel):
    """What was found in an image, or why it could not be read."""

    name: str
    width: int = Field(default=0, description="of the upright image, in pixels")
    height: int = 0
    detections: list[Detection] = Field(
        default=[], description="the best first; boxes in pixels of the upright image"
    )
    seconds: float = Field(default=0.0, description="from its arrival to its detections")
    error: str = Field(default="", description="why it could not be read; then it has nothing but a name")


class Answers(BaseModel):
    """What was found in the images of a request, in their order."""

    images: list[ImageAnswer]


class Refusal(BaseModel):
    """Why a request was not answered."""

    error: str


class Health(BaseModel):
    """That the server answers."""

    status: str


class AboutLimits(BaseModel):
    """What is taken at most."""

    request_bytes: int
    image_bytes: int
    image_pixels: int
    images: int


class About(BaseModel):
    """What the model is."""

    model: str
    boxtune: str
    names: list[str] = Field(description="of the classes, in the order of their numbers")
    thresholds: dict[str, float] = Field(
        description="by the name of the class, from which score on it is shown"
    )
    limits: AboutLimits


_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": _FORM, "image/*": _IMAGE, "application/octet-stream": _IMAGE},
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal} for status in (400, 401, 403, 408, 413, 415, 422, 500, 503, 504)
}


def build(
    model: Model,
    pipeline: Pipeline,
    limits: Limits,
    metrics: Metrics,
    *,
    token: str | None,
    hosts: Sequence[str],
) -> Guard:
    """Return the ASGI app of a server.

    Args:
        model: of which it tells.
        pipeline: that finds objects with it.
        limits: what is taken at most.
        metrics: which it counts and shows.
        token: that a request has to bring; None if there is none.
        hosts: the names by which the server may be called where there is no token.
    """
    # The pages on which FastAPI shows an API load their scripts from elsewhere.
    app = FastAPI(title="boxtune", version=boxtune.__version__, docs_url=None, redoc_url=None)
    service = _Service(model, pipeline, limits, metrics)
    app.add_api_route("/", service.show, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route(
        "/detect",
        service.detect,
        methods=["POST"],
        response_model=Answers,
        responses=_REFUSALS,
        openapi_extra=_BODY,
    )
    app.add_api_route("/health", service.health, response_model=Health)
    app.add_api_route("/health", service.health, methods=["HEAD"], include_in_schema=False)
    app.add_api_route("/model", service.tell, responses={401: {"model": Refusal}})
    app.add_api_route("/metrics", service.count, response_class=Response)
    paths = sorted({route.path for route in app.routes if isinstance(route, Route)})
    _refuse_in_json(app, paths)
    return Guard(app, metrics, token=token, hosts=hosts, paths=paths)


class _Service:
    """What stands behind each path."""

    def __init__(self, model: Model, pipeline: Pipeline, limits: Limits, metrics: Metrics) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._metrics = metrics
        self._room = Room(limits.held_bytes)
        metrics.held.set_function(lambda: self._room.taken)
        self._about = _about(model, limits)
        self._page, self._policy = page(self._about.model_dump())
        thresholds = (model.thresholds[name] for name in model.names)
        self._min_scores = MinScores(dict(enumerate(thresholds)), MIN_SCORE, "")

    async def show(self) -> HTMLResponse:
        """Return the page."""
        return HTMLResponse(self._page, headers={"content-security-policy": self._policy})

    async def detect(
        self, request: Request, min_score: Annotated[float | None, Query(ge=0, le=1)] = None
    ) -> Response:
        """Find objects in an image, or in several: from `min_score` on, or from the thresholds of the model."""
        _refuse_unknown(request)
        min_scores = self._min_scores if min_score is None else same_for_all(min_score, "min_score")
        with self._room.share() as take:
            uploads = await self._received(request, take)
            names = [upload.name for upload in uploads]
            futures = self._pipeline.submit(uploads, min_scores)
            del uploads
            return _answered(names, await _all(request, futures, self._limits.answer_seconds))

    async def _received(self, request: Request, take: Callable[[int], None]) -> list[Upload]:
        seconds = self._limits.receive_seconds
        try:
            async with asyncio.timeout(seconds):
                return await read_uploads(request.headers, request.stream(), self._limits, take)
        except TimeoutError:
            told = f"the request has not arrived within {seconds:g} seconds"
            raise RefusedError(408, f"{told}. Send smaller images, or fewer at a time") from None

    async def health(self) -> Response:
        """Say that the server answers; the model has looked at an image before it started."""
        return JSONResponse({"status": "ok"})

    async def tell(self) -> About:
        """Say what the model is, its classes and their thresholds, and what is taken at most."""
        return self._about

    async def count(self) -> Response:
        """Return what the server has done, for Prometheus."""
        return Response(self._metrics.text(), media_type=self._metrics.content_type)


def _about(model: Model, limits: Limits) -> About:
    return About(
        model=_name(model.path.resolve()),
        boxtune=boxtune.__version__,
        names=model.names,
        thresholds=model.thresholds,
        limits=AboutLimits(
            request_bytes=limits.request_bytes,
            image_bytes=limits.image_bytes,
            image_pixels=limits.image_pixels,
            images=limits.images,
        ),
    )


def _name(path: Path) -> str:
    """Return what a model is called: by its own folder, not by one that is called so in every project."""
    return path.name if path.name not in _UNNAMED or not path.parent.name else _name(path.parent)


def _refuse_unknown(request: Request) -> None:
    """Raise RefusedError for a parameter in the address that has no meaning."""
    for name in request.query_params:
        if name not in _PARAMETERS:
            hint = did_you_mean(name, _PARAMETERS)
            raise RefusedError(422, f'there is no parameter "{printable(name)}".{hint}')


async def _all(
    request: Request, futures: Sequence["Future[Answer]"], seconds: float
) -> list[Answer | BaseException]:
    """Return the answers, or what went wrong with each; give them up if the client goes away or it takes too long."""
    answers = asyncio.ensure_future(_outcomes(futures))
    gone = asyncio.ensure_future(request.receive())  # the body is read: only its end can come
    either: set[asyncio.Future[Any]] = {answers, gone}
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answers.done():
            return answers.result()
        if gone.done():
            raise ClientDisconnect
        raise busy(f"there was no answer within {seconds:g} seconds", 504)
    finally:
        answers.cancel()
        gone.cancel()


async def _outcomes(futures: Sequence["Future[Answer]"]) -> list[Answer | BaseException]:
    return await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)


def _answered(names: Sequence[str], answers: Sequence[Answer | BaseException]) -> JSONResponse:
    """Return the answer of a request: an error where there is nothing else to say.

    Raises:
        BaseException: of the first image, if no image could be read; of any, if the fault is not the image's.
    """
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in errors:
        if not isinstance(error, RefusedError) or len(errors) == len(answers):
            raise error
    return JSONResponse(
        {"images": [_image(name, answer) for name, answer in zip(names, answers, strict=True)]}
    )


def _image(name: str, answer: Answer | BaseException) -> dict[str, Any]:
    if isinstance(answer, BaseException):
        return {"name": name, "error": str(answer)}
    return {
        "name": name,
        "width": answer.width,
        "height": answer.height,
        "detections": list(map(vars, answer.detections)),
        "seconds": round(answer.seconds, 4),
    }


def _refuse_in_json(app: FastAPI, paths: Sequence[str]) -> None:
    """Have every error answered as JSON that says what, which value, and the way out."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return refusal(request.scope, error)

    @app.exception_handler(BoxtuneError)
    async def failed(request: Request, error: BoxtuneError) -> Response:
        return refusal(request.scope, RefusedError(500, str(error)))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        told = (
            f"{first['loc'][-1]} is {printable(repr(first['input']))}; give a number from 0 to 1, such as 0.5"
        )
        return refusal(request.scope, RefusedError(422, told))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        path, method = printable(request.scope["path"]), printable(request.method)
        allowed = ", ".join(sorted(Headers(error.headers).get("allow", "others").split(", ")))
        told = {
            404: f'there is no "{path}" here; there are {", ".join(paths)}',
            405: f"{path} does not take {method}; it takes {allowed}",
        }.get(error.status_code, error.detail)
        response = refusal(request.scope, RefusedError(error.status_code, told))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        # The guard logs it: where it comes from, too.
        return JSONResponse({"error": "the server has failed; its log says how"}, 500)
