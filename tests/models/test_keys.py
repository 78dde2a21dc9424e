"""Every variable of a composite layer is kept in a checkpoint, under one key that does not depend on the process."""

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from keras import ops

from boxtune.config import pipeline_pb2
from boxtune.models import Detector
from boxtune.models.keys import at, variables_by_key
from boxtune.models.layers import conv_style
from boxtune.structures import Detections
from boxtune.training import checkpoints
from boxtune.training.optimizer import optimizer, optimizer_variables
from boxtune.training.run_state import RunState

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

HYPERPARAMS = (
    "regularizer { l2_regularizer { weight: 0.5 } } "
    "initializer { truncated_normal_initializer { stddev: 0.03 } } batch_norm { }"
)
WIDTH = 8


class TestKeys:
    def test_a_layer_is_named_by_its_key(self):
        assert at("_feature_extractor/conv/0") == "model--_feature_extractor--conv--0"

    def test_of_every_kind_of_layer(self):
        images = keras.Input((8, 8, 3))
        made = conv_style(text_format.Parse(HYPERPARAMS, pipeline_pb2.Hyperparams()))
        x = made.conv(4, 3, "a/0", use_bias=True)(images)
        x = made.depthwise_conv(3, "a/1")(x)
        x = made.separable_conv(5, 3, "b/c", use_bias=True)(x)
        x = made.activate(made.normalization("b/d", frozen=False)(x))
        variables = variables_by_key(keras.Model(images, x))
        assert {key: variable.shape for key, variable in variables.items()} == {
            "model/a/0/kernel": (3, 3, 3, 4),
            "model/a/0/bias": (4,),
            "model/a/1/depthwise_kernel": (3, 3, 4, 1),
            "model/b/c/depthwise_kernel": (3, 3, 4, 1),
            "model/b/c/pointwise_kernel": (1, 1, 4, 5),
            "model/b/c/bias": (5,),
            "model/b/d/beta": (5,),
            "model/b/d/moving_mean": (5,),
            "model/b/d/moving_variance": (5,),
        }


def rows():
    return keras.Input((None, WIDTH))


def network(*layers):
    """Return a network of layers one behind the other, over rows [b, n, WIDTH]."""
    inputs = x = rows()
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def attention(name=None):
    """Return a network with self-attention: eight variables in four parts."""
    inputs = rows()
    return keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4, name=name)(inputs, inputs))


def bidirectional():
    return network(keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True)))


def recurrent_cells():
    return network(keras.layers.RNN([keras.layers.GRUCell(3), keras.layers.LSTMCell(4)]))


def nested_functional():
    inner = network(keras.layers.Dense(WIDTH), keras.layers.LayerNormalization())
    return network(inner, keras.layers.Dense(2))


def nested_twice():
    """Two networks of the same layers within one."""
    return network(*(network(keras.layers.Dense(WIDTH), keras.layers.Dense(WIDTH)) for _ in range(2)))


def sequential():
    return network(
        keras.Sequential([keras.layers.Dense(5), keras.layers.Dense(WIDTH)]), keras.layers.Dense(2)
    )


class Block(keras.layers.Layer):
    """Layers in attributes, lists, tuples and dicts, and a weight of its own."""

    def __init__(self, depth=2, **kwargs):
        super().__init__(**kwargs)
        self.steps = [keras.layers.Dense(WIDTH) for _ in range(depth)]
        self.pair = (keras.layers.LayerNormalization(), [keras.layers.Dense(WIDTH)])
        self.by_name = {"query": keras.layers.Dense(WIDTH), "key": [keras.layers.Dense(WIDTH)]}
        self.attend = keras.layers.MultiHeadAttention(2, 4)
        self.again = self.steps[0]  # held twice, kept once

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(WIDTH,))

    def call(self, x):
        for layer in (*self.steps, self.pair[0], *self.pair[1], self.by_name["query"], *self.by_name["key"]):
            x = layer(x)
        return self.attend(x, x) * self.scale


def block():
    return network(Block())


def blocks():
    return network(Block(), Block(1), Block())


class Stack(keras.Model):
    """A subclassed model, within which are layers and networks."""

    def __init__(self):
        super().__init__()
        self.blocks = [Block(1), Block(1)]
        self.head = nested_functional()

    def call(self, x):
        for layer in self.blocks:
            x = layer(x)
        return self.head(x)


def subclassed():
    model = Stack()
    model(np.zeros([1, 3, WIDTH], np.float32))
    return model


def normalized():
    """With statistics, which are not trained, and with dropout, whose state is no weight."""
    return network(keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))


COMPOSITES = [
    attention, bidirectional, recurrent_cells, nested_functional, nested_twice, sequential, block, blocks, subclassed,
    normalized,
]  # fmt: skip


@pytest.fixture(scope="module", params=COMPOSITES, ids=lambda make: make.__name__)
def make(request):
    return request.param


@pytest.fixture(scope="module")
def model(make):
    """The first one that is made, whose values tests may change."""
    return make()


@pytest.fixture(scope="module")
def second(make, model):
    keras.layers.Dense(3)  # what Keras counts up by itself has gone on
    return make()


def test_every_variable_is_kept_once(model):
    kept = variables_by_key(model)
    assert len(kept) == len(model.weights)
    assert {id(variable) for variable in kept.values()} == {id(weight) for weight in model.weights}
    assert all(key.startswith("model/") and "//" not in key and not key.endswith("/") for key in kept)


def test_no_key_is_the_folder_of_another(model):
    keys = set(variables_by_key(model))
    folders = {key[:end] for key in keys for end, letter in enumerate(key) if letter == "/"}
    assert not keys & folders


def test_keys_do_not_depend_on_what_was_built_before(model, second):
    first = {key: variable.shape for key, variable in variables_by_key(model).items()}
    again = {key: variable.shape for key, variable in variables_by_key(second).items()}
    assert list(again.items()) == list(first.items())


def test_keys_survive_a_cleared_session():
    first = [list(variables_by_key(make())) for make in COMPOSITES]
    keras.utils.clear_session()  # once for all: it takes seconds
    assert [list(variables_by_key(make())) for make in COMPOSITES] == first


def test_a_checkpoint_keeps_every_value(model, second, tmp_path):
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    prefix = checkpoints.tree(variables_by_key(model)).write(str(tmp_path / "ckpt-1"))
    checkpoints.load(variables_by_key(second), prefix)
    for one, expected in zip(second.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, expected)
    x = rng.normal(size=[2, 3, WIDTH]).astype(np.float32)
    np.testing.assert_array_equal(second(x, training=False), model(x, training=False))


def test_keys_of_attention():
    parts = ("query", "key", "value", "output")
    assert set(variables_by_key(attention("attend"))) == {
        f"model/attend/_{part}_dense/{name}" for part in parts for name in ("kernel", "bias")
    }


def test_keys_of_attributes_lists_and_dicts():
    keys = set(variables_by_key(network(Block(name="block"))))
    assert {key for key in keys if "attend" not in key} == {
        "model/block/scale",
        *(f"model/block/steps/{number}/{name}" for number in (0, 1) for name in ("kernel", "bias")),
        *(f"model/block/pair/0/{name}" for name in ("gamma", "beta")),
        *(f"model/block/pair/1/0/{name}" for name in ("kernel", "bias")),
        *(f"model/block/by_name/query/{name}" for name in ("kernel", "bias")),
        *(f"model/block/by_name/key/0/{name}" for name in ("kernel", "bias")),
    }


def test_a_part_with_a_key_of_its_own_has_it():
    inner = network(
        keras.layers.Dense(WIDTH, name=at("_box_predictor/deep/0")), keras.layers.Dense(2, name="own")
    )
    assert set(variables_by_key(network(inner))) == {
        "model/_box_predictor/deep/0/kernel",
        "model/_box_predictor/deep/0/bias",
        f"model/{inner.name.rstrip('_0123456789')}/own/kernel",
        f"model/{inner.name.rstrip('_0123456789')}/own/bias",
    }


class TestRefused:
    def test_two_layers_with_one_key(self):
        inputs = rows()
        outputs = [network(keras.layers.Dense(2, name=at("head")))(inputs) for _ in range(2)]
        with pytest.raises(
            ValueError, match="two variables have the checkpoint key model/head/kernel; give them"
        ):
            variables_by_key(keras.Model(inputs, outputs))

    def test_two_variables_of_one_name(self):
        class Twins(keras.layers.Layer):
            def build(self, shape):
                self.one = self.add_weight(name="w", shape=(2,))
                self.other = self.add_weight(name="w", shape=(3,))

            def call(self, x):
                return x

        with pytest.raises(ValueError, match="two variables have the checkpoint key model/twins/w;"):
            variables_by_key(network(Twins()))

    def test_a_layer_that_no_attribute_holds(self):
        class Hidden(keras.layers.Layer):
            """Holds a layer in an object that nobody looks into."""

            def __init__(self):
                super().__init__()
                held = keras.layers.Dense(2, name="lost")
                self._layers.append(held)
                self.run = lambda x: held(x)

            def call(self, x):
                return self.run(x)

        model = network(Hidden())
        assert len(model.weights) == 2
        with pytest.raises(
            ValueError, match=r"lost/kernel, .*lost/bias would not be kept in a checkpoint; hold"
        ):
            variables_by_key(model)

    def test_a_detector_with_such_a_layer_is_not_built(self):
        detector = Attending()
        detector.twin = keras.layers.Dense(WIDTH, name=at("head"))
        detector.twin.build((None, WIDTH))
        with pytest.raises(
            ValueError, match="Attending: two variables have the checkpoint key model/head/kernel"
        ):
            detector.checkpoint_variables()


class Attending(Detector):
    """A detector of composite layers, of which two have variables of the same paths."""

    loss_names = ("loss",)

    def __init__(self):
        super().__init__(num_classes=1)
        # Both are called the same, so their variables have the same paths.
        self.first, self.second = attention("same"), attention("same")
        self.head = network(keras.layers.Dense(5, name=at("head")))

    def call(self, inputs, training=None):
        return self.head(self.second(self.first(inputs["images"])))

    def loss_terms(self, inputs, predictions):
        return {"loss": ops.mean(ops.square(predictions - 1.0))}

    def candidates(self, inputs, predictions):
        return predictions[..., :4], ops.sigmoid(predictions[..., 4:])

    def detect(self, inputs, predictions):
        boxes, scores = self.candidates(inputs, predictions)
        count = ops.zeros(ops.shape(boxes)[:1], "int32")
        return Detections(
            boxes, scores[..., 0], classes=ops.zeros(ops.shape(boxes)[:2], "int32"), count=count
        )

    def restore_map(self, fine_tune_type):
        return self.parts({"full": ["model/"]}, fine_tune_type)


RATE = "learning_rate { constant_learning_rate { learning_rate: 0.01 } }"
SECTIONS = {kind: f"{kind}_optimizer {{ {RATE} }}" for kind in ("momentum", "adam", "rms_prop")}
SLOTS = {"momentum": 1, "adam": 2, "rms_prop": 2}


def attending(kind="momentum", *, seed=0, accumulate_batches=1):
    keras.utils.set_random_seed(seed)
    detector = Attending()
    section = text_format.Parse(SECTIONS[kind], pipeline_pb2.Optimizer())
    detector.compile(optimizer(section, accumulate_batches=accumulate_batches), jit_compile=False)
    return detector


def batch():
    images = np.random.default_rng(0).normal(size=[2, 4, WIDTH]).astype(np.float32)
    return {"images": images, "sizes": np.full([2, 2], 4, np.int32)}


class TestOptimizer:
    def test_paths_are_not_unique_here(self):
        paths = [variable.path for variable in attending().trainable_variables]
        assert len(set(paths)) < len(paths)

    @pytest.mark.parametrize("accumulate_batches", [1, 2])
    @pytest.mark.parametrize("kind", SECTIONS)
    def test_nothing_that_it_keeps_is_lost(self, kind, accumulate_batches):
        detector = attending(kind, accumulate_batches=accumulate_batches)
        detector.optimizer.build(detector.trainable_variables)
        trained = detector.trained_variables()
        kept = optimizer_variables(detector.optimizer, trained)
        passed_over = [
            variable
            for variable in detector.optimizer.variables
            if variable.name == "iteration" or variable.name.endswith("_gradient_accumulator")
        ]
        assert len(passed_over) == 1 + (len(trained) if accumulate_batches > 1 else 0)
        assert {id(one) for one in kept.values()} == {id(one) for one in detector.optimizer.variables} - {
            id(one) for one in passed_over
        }
        of_variables = [key for key in kept if "/model/" in key]
        assert len(of_variables) == SLOTS[kind] * len(trained)

    @pytest.mark.parametrize("kind", SECTIONS)
    def test_each_slot_has_the_key_of_its_variable(self, kind):
        detector = attending(kind)
        detector.optimizer.build(detector.trainable_variables)
        trained = detector.trained_variables()
        for key, slot in optimizer_variables(detector.optimizer, trained).items():
            owner = next((own for own in trained if f"/{own}/" in key), None)
            if owner is not None:
                index = detector.optimizer._get_variable_index(trained[owner])
                slots = [
                    group[index]
                    for group in vars(detector.optimizer).values()
                    if isinstance(group, list) and len(group) == len(trained)
                ]
                assert any(slot is one for one in slots), key

    @pytest.mark.parametrize("kind", SECTIONS)
    def test_a_run_resumes_to_the_last_bit(self, kind, tmp_path):
        whole, first = attending(kind), attending(kind)
        whole_state, first_state = (
            RunState(tmp_path / name, one, 5) for name, one in (("whole", whole), ("parts", first))
        )
        for _ in range(3):
            whole.train_on_batch(batch())
        first.train_on_batch(batch())
        first_state.save()
        second = attending(kind, seed=1)
        second_state = RunState(tmp_path / "parts", second, 5)
        second_state.resume()
        for _ in range(2):
            second.train_on_batch(batch())
        for part in ("model_variables", "optimizer_variables"):
            expected = getattr(whole_state, part)
            assert getattr(second_state, part).keys() == expected.keys()
            for key, variable in getattr(second_state, part).items():
                np.testing.assert_array_equal(variable, expected[key], err_msg=key)
