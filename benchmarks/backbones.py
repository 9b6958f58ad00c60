"""Which of timm's networks take the clips of a member of params.yaml: the smallest of each family, or those named.

To find the smallest, all 1,300 networks are built without values, which takes 4 minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import timm

from birdcache.errors import TrainError
from birdcache.params import load as parameters
from birdcache.params.recipe import Member
from train.model.check import check_member
from train.model.sizes import parameter_count


def main() -> None:
    """Print a line for each network, and how many are taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", nargs="*", help="of timm; without any the smallest of each family")
    parser.add_argument("--member", help="of params.yaml; the first")
    parser.add_argument("--head", choices=["linear", "sed"], default="linear")
    parser.add_argument("--pool", choices=["avg", "gem"], default="avg")
    arguments = parser.parse_args()
    params, taken, names = parameters.load(), 0, arguments.backbone or list(smallest())
    member = arguments.member or next(iter(params.members))
    for name in names:
        begin = time.perf_counter()
        try:
            other = changed(params.members[member], name, arguments)
            told = check_member(f"members.{member}", other, params.recipe_of(member), params.spectrograms)
            said = "; ".join(told) or "as they are"
            taken += 1
        except TrainError as error:
            said = f"refused: {error}"
        print(f"{name:40} {time.perf_counter() - begin:5.1f} s  {said}", flush=True)
    print(f"{taken} of {len(names)} take the clips of member {member}")


def changed(member: Member, backbone: str, arguments: argparse.Namespace) -> Member:
    """The member with another network, from random weights."""
    update = {"backbone": backbone, "pretrained": False, "drop_path": 0.0}
    return member.model_copy(update=update | {"head": arguments.head, "pool": arguments.pool})


def smallest() -> Iterator[str]:
    """The network with the fewest parameters of each family of timm."""
    for family in timm.list_modules():
        if names := timm.list_models(module=family):
            yield min(names, key=parameter_count)


if __name__ == "__main__":
    main()
