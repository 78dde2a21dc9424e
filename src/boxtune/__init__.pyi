from boxtune.check import check as check
from boxtune.configure import configure as configure
from boxtune.convert import convert as convert
from boxtune.cross_validate import cross_validate as cross_validate
from boxtune.evaluate import evaluate as evaluate
from boxtune.export import export as export
from boxtune.load import load as load
from boxtune.predict import predict as predict
from boxtune.retrain import retrain as retrain
from boxtune.runs import runs as runs
from boxtune.train import train as train

__version__: str
VERBS: tuple[str, ...]
