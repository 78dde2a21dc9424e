"""What decoders of records have in common."""

import abc
from typing import Any


class DataDecoder(abc.ABC):
    """Makes tensors of a serialized record."""

    @abc.abstractmethod
    def decode(self, data: Any) -> dict[str, Any]:
        """Return the tensors of a record by their names."""
