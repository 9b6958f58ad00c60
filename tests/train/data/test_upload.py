"""What is on its way to the device: all of it has to arrive, whichever store sends it."""

from __future__ import annotations

from typing import Any

import torch

from train.data.frames import Uploaded


def test_all_that_was_sent_has_to_arrive() -> None:
    events: list[Any] = [object(), object(), object()]
    nothing = torch.empty(0)
    inner = Uploaded(nothing, None, (Uploaded(nothing, events[1]), Uploaded(nothing, events[2])))
    assert Uploaded(nothing, events[0], (inner,)).arrivals == events
    assert Uploaded(nothing, None).arrivals == []
