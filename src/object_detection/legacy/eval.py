"""The API's legacy/eval.py, of TensorFlow 1: answers with what to run now."""

import sys

from object_detection.legacy.answer import answer

if __name__ == "__main__":
    sys.exit(answer("eval"))
