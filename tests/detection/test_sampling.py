import keras
import numpy as np
import pytest
from keras import ops

from boxtune.detection.matching import IGNORED, UNMATCHED
from boxtune.detection.sampling import RandomExampleSampler, balanced_sample


def sample(candidates, positives, *options, priorities=None, **named):
    """Sample of one image; of either kind the first come first, by default."""
    candidates, positives = (np.array([flags], bool) for flags in (candidates, positives))
    priorities = np.arange(candidates.shape[1])[None] if priorities is None else np.array([priorities])
    tensors = map(ops.convert_to_tensor, (candidates, positives, np.float32(priorities)))
    sampled = balanced_sample(*tensors, *options, **named)
    return np.flatnonzero(ops.convert_to_numpy(sampled)[0]).tolist()


class TestBalancedSample:
    """All positives, and negatives in proportion."""

    def test_three_negatives_for_each_positive(self):
        # Two positives of ten: six negatives, in their order.
        assert sample([1] * 10, [0, 1, 0, 0, 1] + [0] * 5, 0.25) == [0, 1, 2, 3, 4, 5, 6, 7]

    def test_negatives_by_priority(self):
        assert sample([1] * 4, [1, 0, 0, 0], 0.5, priorities=[0, 3, 1, 2]) == [0, 2]

    def test_fractions_of_negatives_are_cut_off(self):
        assert sample([1] * 6, [1, 0, 0, 0, 0, 0], 0.3) == [0, 1, 2]  # 7 / 3

    def test_without_positives_nothing_is_sampled(self):
        assert sample([1] * 4, [0] * 4, 0.25) == []

    def test_only_candidates_are_sampled(self):
        assert sample([0, 1, 0, 1], [1, 1, 0, 0], 0.5) == [1, 3]


def sampled_by(sampler, *arrays):
    return ops.convert_to_numpy(sampler(*map(ops.convert_to_tensor, arrays)))


class TestRandomExampleSampler:
    MATCHES = np.int32([[0, UNMATCHED, IGNORED, UNMATCHED, UNMATCHED, 1] + [UNMATCHED] * 94] * 2)
    WEIGHTS = np.where(MATCHES == IGNORED, 0, 1).astype(np.float32)

    def sample(self, sampler):
        return sampled_by(sampler, self.WEIGHTS, self.MATCHES)

    def test_all_positives_and_some_negatives(self):
        sampled = self.sample(RandomExampleSampler(keras.random.SeedGenerator(0), 0.1))
        assert sampled[:, [0, 5]].all()
        assert not sampled[:, 2].any()
        np.testing.assert_array_equal(sampled.sum(axis=1), [20, 20])
        assert not np.array_equal(sampled[0], sampled[1])

    def test_each_call_samples_anew_and_a_state_resumes(self):
        sampler = RandomExampleSampler(keras.random.SeedGenerator(0), 0.1)
        first = self.sample(sampler)
        state = ops.convert_to_numpy(sampler.seeds.state)
        second, third = self.sample(sampler), self.sample(sampler)
        assert not np.array_equal(first, second)
        resumed = RandomExampleSampler(keras.random.SeedGenerator(7), 0.1)
        resumed.seeds.state.assign(state)
        np.testing.assert_array_equal(self.sample(resumed), second)
        np.testing.assert_array_equal(self.sample(resumed), third)

    @pytest.mark.parametrize("weight", [0.5, 2.0])
    def test_anchors_with_a_weight_count(self, weight):
        sampler = RandomExampleSampler(keras.random.SeedGenerator(0), 1.0)
        sampled = sampled_by(sampler, weight * self.WEIGHTS, self.MATCHES)
        np.testing.assert_array_equal(sampled, self.MATCHES >= 0)
