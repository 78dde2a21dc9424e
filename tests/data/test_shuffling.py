from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from boxtune.data.shuffling import Order, balanced_probabilities, weighted_probabilities
from boxtune.errors import ConfigError


def numbers(order, positions):
    return [int(order.number(np.int64(position))) for position in positions]


class TestOrder:
    def test_as_it_is(self):
        assert numbers(Order(3, seed=0, shuffle=False), range(7)) == [0, 1, 2, 0, 1, 2, 0]

    @given(st.integers(1, 30), st.integers(0, 2**31 - 1), st.integers(0, 10**12))
    @settings(max_examples=30, deadline=None)
    def test_each_epoch_has_each_record_once(self, count, seed, epoch):
        order = Order(count, seed)
        assert sorted(numbers(order, range(epoch * count, (epoch + 1) * count))) == list(range(count))

    def test_epochs_and_seeds_differ(self):
        orders = [
            numbers(Order(10, seed), range(10 * epoch, 10 * epoch + 10))
            for seed in (0, 1)
            for epoch in (0, 1)
        ]
        assert len({tuple(order) for order in orders}) == 4

    def test_in_tf_data_as_eagerly(self):
        probabilities = np.array([0.5, 0.25, 0.125, 0.125])
        for order in (
            Order(4, 5),
            Order(4, 5, probabilities=probabilities),
            Order(4, 5, shuffle=False, probabilities=probabilities),
        ):
            drawn = tf.data.Dataset.range(12).map(order.number)
            assert [int(number) for number in drawn] == numbers(order, range(12))


class TestShares:
    @given(st.lists(st.floats(0.01, 1), min_size=1, max_size=12), st.integers(0, 1000), st.booleans())
    @settings(max_examples=40, deadline=None)
    def test_each_record_is_shown_by_its_share_rounded_up_or_down(self, weights, seed, shuffle):
        probabilities = np.array(weights) / np.sum(weights)
        count = len(probabilities)
        shown = Counter(numbers(Order(count, seed, shuffle, probabilities), range(count)))
        for number, share in enumerate(probabilities):
            assert share * count - 1 < shown[number] < share * count + 1

    def test_equal_probabilities_are_each_record_once(self):
        order = Order(7, 3, probabilities=np.full(7, 1 / 7))
        assert sorted(numbers(order, range(7))) == list(range(7))

    def test_over_many_epochs_probabilities_are_met(self):
        # Two epochs of three would give 1.8, 0.9 and 0.3 if they could; 100 give 180, 90 and 30.
        probabilities = np.array([0.6, 0.3, 0.1])
        shown = Counter(numbers(Order(3, 0, probabilities=probabilities), range(300)))
        np.testing.assert_allclose([shown[0], shown[1], shown[2]], [180, 90, 30], atol=20)

    def test_draws(self):
        probabilities = np.array([0.7, 0.2, 0.1])
        for order, expected in (
            (Order(3, 0, probabilities=probabilities), probabilities),
            (Order(3, 0), np.full(3, 1 / 3)),
        ):
            drawn = np.bincount(
                [int(order.random_number(tf.constant([seed, 1]))) for seed in range(300)], minlength=3
            )
            # Four standard deviations of the middle one.
            np.testing.assert_allclose(drawn / 300, expected, atol=4 * 0.5 / np.sqrt(300))


class TestWeightedShares:
    FIRST, SECOND = np.array([1, 1, 1, 0], bool), np.array([0, 0, 0, 1], bool)

    def test_by_hand(self):
        # Three records share 3/4 of what is shown, and one has 1/4 for itself.
        np.testing.assert_allclose(weighted_probabilities([self.FIRST, self.SECOND], [3, 1]), [1 / 4] * 4)
        np.testing.assert_allclose(
            weighted_probabilities([self.FIRST, self.SECOND], [1, 1]), [*[1 / 6] * 3, 1 / 2]
        )

    def test_a_record_may_be_in_several(self):
        both = np.array([0, 0, 1, 1], bool)
        # 0.5 / 3 of the first, and 0.5 / 2 of the other for the last two.
        probabilities = weighted_probabilities([self.FIRST, both], [0.2, 0.2])
        np.testing.assert_allclose(probabilities, [1 / 6, 1 / 6, 1 / 6 + 1 / 4, 1 / 4])

    def test_a_data_set_without_records_is_refused(self):
        with pytest.raises(ConfigError, match="there is no record in input_path 2 of those with a weight"):
            weighted_probabilities([self.FIRST, np.zeros(4, bool)], [1, 1])


class TestBalancedShares:
    CLASSES = tuple(np.array(one, np.int32) for one in ([0, 0], [0], [0], [0, 2], [], [2, 2]))

    def test_by_hand(self):
        # Class 0 is in four records and class 2 in two: records count 1/4, or 1/2 with class 2; the empty one 1/4.
        probabilities = balanced_probabilities(self.CLASSES, 1.0)
        np.testing.assert_allclose(probabilities, np.array([1, 1, 1, 2, 1, 2]) / 8)

    def test_half_way(self):
        probabilities = balanced_probabilities(self.CLASSES, 0.5)
        np.testing.assert_allclose(probabilities / probabilities[0], [1, 1, 1, 2**0.5, 1, 2**0.5])

    def test_none(self):
        np.testing.assert_allclose(balanced_probabilities(self.CLASSES, 0.0), np.full(6, 1 / 6))

    def test_all_classes_are_as_frequent_where_each_record_has_one(self):
        classes = [np.array([number // 9]) for number in range(10)]  # nine of class 0, one of class 1
        probabilities = balanced_probabilities(classes, 1.0)
        np.testing.assert_allclose([probabilities[:9].sum(), probabilities[9]], [0.5, 0.5])

    @pytest.mark.parametrize("classes", [[[]], [[], [], []]])
    def test_without_objects(self, classes):
        probabilities = balanced_probabilities([np.array(one, np.int32) for one in classes], 1.0)
        np.testing.assert_allclose(probabilities, 1 / len(classes))

    @pytest.mark.parametrize("exponent", [-0.1, 1.1, float("nan")])
    def test_exponents_that_cannot_be(self, exponent):
        with pytest.raises(ConfigError, match=r"boxtune.class_balance is .*; it must be in \[0, 1\]"):
            balanced_probabilities(self.CLASSES, exponent)
