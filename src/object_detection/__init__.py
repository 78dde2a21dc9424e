"""Drop-in names of the TensorFlow Object Detection API; each calls boxtune."""

import sys

from boxtune import drop_in

drop_in.warn()
sys.meta_path.append(drop_in.ExplainMissing())
