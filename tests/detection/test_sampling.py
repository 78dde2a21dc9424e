import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from boxtune.detection.matching import IGNORED, UNMATCHED
from boxtune.detection.sampling import RandomExampleSampler, balanced_sample


def sample(candidates, positives, *options, priorities=None, **named):
    """Sample of one image; of either kind the first come first, unless told otherwise."""
    candidates, positives = (np.array([flags], bool) for flags in (candidates, positives))
    priorities = np.arange(candidates.shape[1])[None] if priorities is None else np.array([priorities])
    sampled = balanced_sample(candidates, positives, np.float32(priorities), *options, **named)
    return np.flatnonzero(ops.convert_to_numpy(sampled)[0]).tolist()


class TestWithoutASize:
    """All positives, and with each the negatives that belong to it."""

    def test_three_negatives_for_each_positive(self):
        # Two positives of ten: six negatives, in their order.
        assert sample([1] * 10, [0, 1, 0, 0, 1] + [0] * 5, 0.25) == [0, 1, 2, 3, 4, 5, 6, 7]

    def test_negatives_by_priority(self):
        assert sample([1] * 4, [1, 0, 0, 0], 0.5, priorities=[0, 3, 1, 2]) == [0, 2]

    def test_fractions_of_negatives_are_cut_off(self):
        assert sample([1] * 6, [1, 0, 0, 0, 0, 0], 0.3) == [0, 1, 2]  # 7 / 3

    def test_without_positives_nothing_is_sampled(self):
        assert sample([1] * 4, [0] * 4, 0.25) == []

    def test_what_is_no_candidate_is_left_out(self):
        assert sample([0, 1, 0, 1], [1, 1, 0, 0], 0.5) == [1, 3]


class TestWithASize:
    def test_half_of_four(self):
        assert sample([1] * 8, [1] * 4 + [0] * 4, 0.5, batch_size=4) == [0, 1, 4, 5]

    def test_negatives_fill_up(self):
        assert sample([1] * 8, [1] + [0] * 7, 0.5, batch_size=4) == [0, 1, 2, 3]

    def test_there_may_be_too_few(self):
        assert sample([1] * 4, [1, 0, 0, 0], 0.5, batch_size=64) == [0, 1, 2, 3]

    @given(st.lists(st.sampled_from(["positive", "negative", "neither"]), min_size=12, max_size=12),
           st.integers(1, 20), st.floats(0.1, 1), st.integers(0, 99))  # fmt: skip
    def test_never_more_and_in_proportion(self, kinds, size, fraction, seed):
        candidates = [kind != "neither" for kind in kinds]
        positives = [kind == "positive" for kind in kinds]
        # Drawn from three numbers only: equal priorities must not sample more.
        priorities = np.random.default_rng(seed).integers(0, 3, len(kinds))
        sampled = sample(candidates, positives, fraction, batch_size=size, priorities=priorities)
        num_positives = min(int(fraction * size), sum(positives))
        num_negatives = min(size - num_positives, kinds.count("negative"))
        assert sum(positives[index] for index in sampled) == num_positives
        assert len(sampled) == num_positives + num_negatives
        assert all(candidates[index] for index in sampled)


class TestRandomExampleSampler:
    MATCHES = np.int32([[0, UNMATCHED, IGNORED, UNMATCHED, UNMATCHED, 1] + [UNMATCHED] * 94] * 2)
    WEIGHTS = np.where(MATCHES == IGNORED, 0, 1).astype(np.float32)

    def drawn(self, sampler):
        return ops.convert_to_numpy(sampler(self.WEIGHTS, self.MATCHES))

    def test_all_positives_and_some_negatives(self):
        sampled = self.drawn(RandomExampleSampler(keras.random.SeedGenerator(0), 0.1))
        assert sampled[:, [0, 5]].all()
        assert not sampled[:, 2].any()
        np.testing.assert_array_equal(sampled.sum(axis=1), [20, 20])
        assert not np.array_equal(sampled[0], sampled[1])

    def test_it_draws_anew_and_goes_on_from_a_state(self):
        sampler = RandomExampleSampler(keras.random.SeedGenerator(0), 0.1)
        first = self.drawn(sampler)
        state = ops.convert_to_numpy(sampler.seeds.state)
        second, third = self.drawn(sampler), self.drawn(sampler)
        assert not np.array_equal(first, second)
        resumed = RandomExampleSampler(keras.random.SeedGenerator(7), 0.1)
        resumed.seeds.state.assign(state)
        np.testing.assert_array_equal(self.drawn(resumed), second)
        np.testing.assert_array_equal(self.drawn(resumed), third)

    @pytest.mark.parametrize("weight", [0.5, 2.0])
    def test_what_has_a_weight_counts(self, weight):
        sampler = RandomExampleSampler(keras.random.SeedGenerator(0), 1.0)
        sampled = ops.convert_to_numpy(sampler(weight * self.WEIGHTS, self.MATCHES))
        np.testing.assert_array_equal(sampled, self.MATCHES >= 0)
