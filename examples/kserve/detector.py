"""A server that speaks the V2 protocol of KServe and Triton, by MLServer, over the ONNX file of `boxtune export`.

    pip install mlserver onnxruntime
    cp ../../exported/model.onnx .
    mlserver start .
    pip install requests pillow && python client.py photo.jpg

The input and the outputs are those of the file: `input_tensor` uint8 [batch, height, width, 3], and detections by the
API's names, but `num_detections` as [batch, 1]. Requests that come within `max_batch_time` seconds, as
model-settings.json says, are answered as one batch if their images have one size. It answers this machine only, unless
settings.json has another `host`; `parallel_workers` is 0 there since the processes of MLServer 1.7 do not start with
today's uvloop.

Tried with MLServer 1.7.1, onnxruntime 1.32 and Python 3.11: twelve images at once by HTTP had the detections of
onnxruntime, and one by Triton's client for gRPC was answered. No test runs it.
"""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class Detector(MLModel):
    """The model of model-settings.json."""

    async def load(self) -> bool:
        """Load its file; return whether it is ready."""
        self._session = onnxruntime.InferenceSession(await get_model_uri(self._settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return what is found in the images of a request."""
        names = [output.name for output in self._session.get_outputs()]
        images = NumpyCodec.decode_input(payload.inputs[0])
        found = self._session.run(names, {"input_tensor": images})
        outputs = [NumpyCodec.encode_output(*pair) for pair in zip(names, found, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
