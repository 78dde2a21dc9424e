from boxtune.benchmark import benchmark as benchmark
from boxtune.check import check as check
from boxtune.configure import configure as configure
from boxtune.convert import convert as convert
from boxtune.cross_validate import cross_validate as cross_validate
from boxtune.doctor import doctor as doctor
from boxtune.draw import draw as draw
from boxtune.evaluate import evaluate as evaluate
from boxtune.export import export as export
from boxtune.label import label as label
from boxtune.list_models import list_models as list_models
from boxtune.load import load as load
from boxtune.lr_range import lr_range as lr_range
from boxtune.predict import predict as predict
from boxtune.retrain import retrain as retrain
from boxtune.runs import runs as runs
from boxtune.serve import serve as serve
from boxtune.train import train as train

__version__: str
VERBS: tuple[str, ...]
