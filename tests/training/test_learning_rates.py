import pytest
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.training.learning_rates import highest_rate, how_to_stabilize, rate_fields, scale, warnings

COSINE = """cosine_decay_learning_rate {
  learning_rate_base: 0.08 total_steps: 600 warmup_learning_rate: 0.02 warmup_steps: 100
}"""
SCHEDULES = {
    "constant_learning_rate { learning_rate: 0.4 }": [0.4],
    COSINE: [0.08, 0.02],
    "exponential_decay_learning_rate { initial_learning_rate: 0.2 decay_factor: 0.5 }": [0.2, 0.0, 0.0],
    "manual_step_learning_rate { initial_learning_rate: 0.1 schedule { step: 5 learning_rate: 0.2 } "
    "schedule { step: 9 learning_rate: 0.3 } warmup: true }": [0.1, 0.2, 0.3],
}


def settings(schedule=COSINE, batch_size=8, num_steps=600, optimizer="momentum_optimizer"):
    chosen = f"{optimizer} {{ learning_rate {{ {schedule} }} }}"
    return text_format.Parse(
        f"batch_size: {batch_size} num_steps: {num_steps} optimizer {{ {chosen} }}",
        pipeline_pb2.TrainConfig(),
    )


def values(given):
    return pytest.approx([field.value for field in rate_fields(given)])


@pytest.mark.parametrize(("schedule", "rates"), SCHEDULES.items(), ids=lambda one: str(one).split()[0])
def test_every_rate_of_a_schedule_is_found_and_scaled(schedule, rates):
    given = settings(schedule, batch_size=8)
    assert rates == values(given)
    # 8 / 128 = 1 / 16
    assert scale(given, 128) == 1 / 16
    assert [rate / 16 for rate in rates] == values(given)


def test_nothing_else_is_scaled():
    given, expected = settings(), settings()
    scale(given, 16)
    cosine = expected.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate
    cosine.learning_rate_base, cosine.warmup_learning_rate = 0.04, 0.01
    assert str(given) == str(expected)


def test_a_rate_is_named_as_set_takes_it():
    manual = list(SCHEDULES)[-1]
    assert highest_rate(settings(manual, optimizer="adam_optimizer")).path == (
        "train_config.optimizer.adam_optimizer.learning_rate.manual_step_learning_rate.schedule[1].learning_rate"
    )


@pytest.mark.parametrize(
    ("batch_size", "warned"),
    # 0.01 for each image: 0.08 for 8 of them.
    [(128, False), (8, False), (7, True), (1, True)],
)
def test_a_stock_rate_with_a_small_batch(batch_size, warned):
    assert bool(warnings(settings(batch_size=batch_size))) == warned


def test_a_high_rate_gets_a_warning_with_numbers():
    (warning,) = warnings(settings(batch_size=4))
    assert "The learning rate 0.08 is high for batches of 4 images." in warning
    assert warning.endswith("cosine_decay_learning_rate.learning_rate_base=0.04")


@pytest.mark.parametrize(
    ("rate", "steps", "advice"),
    # Rate times steps is 4 at least; with batches of 8 the rate is 0.08 at most.
    [
        (0.005, 300, "=0.013"),
        (0.005, 50, "=0.08"),
        (0.0134, 300, None),
        (0.005, 800, None),
    ],
)
def test_a_low_rate_for_few_steps(rate, steps, advice):
    given = settings(f"constant_learning_rate {{ learning_rate: {rate} }}", 8, num_steps=steps)
    found = warnings(given)
    assert len(found) == (advice is not None)
    if advice:
        assert found[0].endswith(advice)
        assert f"is low for {steps} steps" in found[0]


def test_a_rate_that_may_not_be_higher_for_few_steps():
    (found,) = warnings(settings("constant_learning_rate { learning_rate: 0.01 }", 1, num_steps=100))
    assert found.endswith("Train longer")


@pytest.mark.parametrize("schedule", [COSINE, "constant_learning_rate { learning_rate: 0.005 }"])
def test_runs_of_so_few_steps_that_they_only_try_get_no_advice(schedule):
    assert warnings(settings(schedule, batch_size=1, num_steps=2)) == []


def test_a_detector_of_the_same_classes_may_learn_slowly():
    given = settings("constant_learning_rate { learning_rate: 0.005 }", 8, num_steps=300)
    given.fine_tune_checkpoint, given.fine_tune_checkpoint_type = "ckpt-1", "full"
    assert warnings(given) == []


def test_other_optimizers_have_other_rates():
    assert not warnings(
        settings("constant_learning_rate { learning_rate: 0.4 }", 1, optimizer="adam_optimizer")
    )


def test_the_advice_of_a_warning_gets_none():
    given = settings(batch_size=4)
    given.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate.learning_rate_base = 0.04
    assert not warnings(given)


def test_a_run_that_ends_before_it_is_warm():
    (warning,) = warnings(settings(num_steps=90))
    assert "is for 600 steps, and the run ends after 90, while it warms up, at a rate of 0.074" in warning


def test_a_run_that_ends_in_the_middle_of_its_schedule():
    (warning,) = warnings(settings(num_steps=300))
    # 200 of 500 steps down from 0.08: 0.04 * (1 + cos(0.4 pi)).
    assert "is for 600 steps, and the run ends after 300, in the middle of it, at a rate of 0.052" in warning
    fitting = settings(num_steps=300)
    for flag in warning.partition("To fit: ")[2].split("--set ")[1:]:
        path, _, value = flag.strip().rpartition("=")
        parent, name = fitting, path.removeprefix("train_config.")
        while "." in name:
            part, _, name = name.partition(".")
            parent = getattr(parent, part)
        setattr(parent, name, int(value))
    assert warnings(fitting) == []
    cosine = fitting.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate
    assert (cosine.total_steps, cosine.warmup_steps) == (300, 50)


def test_a_run_that_goes_on_behind_its_schedule():
    (warning,) = warnings(settings(num_steps=900))
    assert "is 0 after step 600" in warning
    assert "goes on to step 900" in warning


def test_how_to_stabilize():
    given = settings("constant_learning_rate { learning_rate: 0.3 }")
    assert "constant_learning_rate.learning_rate=0.1)" in how_to_stabilize(given)
    assert "gradient_clipping_by_norm=10" in how_to_stabilize(given)
    given.gradient_clipping_by_norm = 5
    assert "gradient_clipping_by_norm" not in how_to_stabilize(given)
