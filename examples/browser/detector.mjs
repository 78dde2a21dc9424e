// Finds objects in images, in a browser, with a file that `boxtune export --format onnx` wrote.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

/**
 * Load a model from its URL. What is returned takes an image (ImageBitmap, img, canvas) of any size, and promises
 * [{ number, score, ymin, xmin, ymax, xmax }], best first: `number` is the class, from 1 on; sides are in pixels.
 */
export async function loadDetector(url) {
  const session = await ort.InferenceSession.create(url);
  return async (image) => {
    const { data, width, height } = pixelsOf(image);
    const images = new ort.Tensor("uint8", withoutAlpha(data), [1, height, width, 3]);
    return detections(await session.run({ input_tensor: images }), width, height);
  };
}

/** Return the names of the classes, by their numbers, from the text of a label_map.pbtxt. */
export function namesIn(labelMap) {
  const names = new Map();
  for (const [item] of labelMap.matchAll(/item\s*{[^}]*}/g)) {
    const [, number] = item.match(/\bid:\s*(\d+)/);
    const name = item.match(/\bdisplay_name:\s*["']([^"']*)/) ?? item.match(/\bname:\s*["']([^"']*)/);
    names.set(Number(number), name[1]);
  }
  return names;
}

function pixelsOf(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, image.width, image.height);
}

function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return rgb;
}

function detections(outputs, width, height) {
  const [boxes, scores, numbers] = ["boxes", "scores", "classes"].map((name) => outputs[`detection_${name}`].data);
  return Array.from({ length: outputs.num_detections.data[0] }, (_, i) => ({
    number: numbers[i],
    score: scores[i],
    ymin: boxes[4 * i] * height,
    xmin: boxes[4 * i + 1] * width,
    ymax: boxes[4 * i + 2] * height,
    xmax: boxes[4 * i + 3] * width,
  }));
}
