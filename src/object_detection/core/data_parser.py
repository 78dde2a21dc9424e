"""What readers of records with detections have in common."""

import abc
from typing import Any


class DataToNumpyParser(abc.ABC):
    """Takes something out of a record, as arrays."""

    @abc.abstractmethod
    def parse(self, input_data: Any) -> Any:
        """Return what a record has of it; None if it has nothing."""
