"""Gradients under whatever backend Keras runs on."""

import keras
import numpy as np
from keras import ops


def gradients(function, *arrays):
    """Return the gradients of `function`, of tensors to a scalar, by each of `arrays`, as numpy arrays."""
    variables = [keras.Variable(array) for array in arrays]
    return differentiated(lambda: (function(*map(ops.convert_to_tensor, variables)), ()), variables)[1]


def differentiated(function, variables, assigned=()):
    """Call `function`, which reads Keras' `variables`, may assign those in `assigned`, and returns (scalar, anything).

    Return what it returned, and the gradients of the scalar by `variables`, all of it as numpy arrays; a gradient is
    zeros where the variable has no part in the scalar.
    """
    differentiate = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}[
        keras.backend.backend()
    ]
    return keras.tree.map_structure(ops.convert_to_numpy, differentiate(function, variables, assigned))


def _by_tensorflow(function, variables, assigned):
    import tensorflow as tf

    values = [variable.value for variable in variables]
    with tf.GradientTape() as tape:
        result = function()
    return result, tape.gradient(result[0], values, unconnected_gradients="zero")


def _by_jax(function, variables, assigned):
    import jax

    def stateless(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
            scalar, more = function()
        return scalar, (more, [scope.get_current_value(variable) for variable in assigned])

    values = [variable.value for variable in variables]
    (scalar, (more, after)), found = jax.jit(jax.value_and_grad(stateless, has_aux=True))(values)
    for variable, value in zip(assigned, after, strict=True):
        if value is not None:
            variable.assign(value)
    return (scalar, more), found


def _by_torch(function, variables, assigned):
    import torch

    values = [variable.value for variable in variables]
    scalar, more = function()
    found = torch.autograd.grad(scalar, values, allow_unused=True)
    return (scalar, more), [
        np.zeros(value.shape, np.float32) if one is None else one
        for one, value in zip(found, values, strict=True)
    ]
