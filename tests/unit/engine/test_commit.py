"""`commit`: the container is frozen meanwhile, and one that ends just then is committed all the same."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from orlop.engine.commit import Commit
from orlop.spec.errors import NotFound
from orlop.spec.image import LayerRecord
from support.pretend import IMAGE, story

DIFF_ID = "sha256:" + "4" * 64


class _Arrivals:
    """The verbs on images that a commit uses."""

    def __init__(self):
        self.arguments = {}

    def arriving(self):
        return nullcontext()

    async def adopt(self, job, arguments):
        self.arguments = arguments
        return SimpleNamespace(id="sha256:" + "5" * 64)


async def _commit(w, arrivals):
    w.workers.answers["layer.commit"] = {"diff_id": DIFF_ID}
    w.parts.images.layer = lambda chain: LayerRecord(chain_id=chain, diff_id=IMAGE.config.diff_ids[0], size=1)
    return await Commit(w.parts, arrivals).commit(
        w.parts.roster.get("web"), repository="mine", tag="1", author="me", comment="why", changes=("ENV A=1",), pause=True,
        process=None,
    )  # fmt: skip


@story
async def test_a_running_container_is_frozen_only_while_its_files_are_read(w):
    container, frozen = await w.run(), []
    run = w.workers.run

    async def watched(name, arguments, **how):
        frozen.append((name, container in w.isolation.paused))
        return await run(name, arguments, **how)

    w.workers.run = watched
    arrivals = _Arrivals()
    assert await _commit(w, arrivals) == "sha256:" + "5" * 64
    assert frozen == [("layer.commit", True)]
    assert w.isolation.paused == set()
    config = json.loads(arrivals.arguments["config"])
    assert config["rootfs"]["diff_ids"] == [*IMAGE.config.diff_ids, DIFF_ID]
    assert "A=1" in config["config"]["Env"]
    assert arrivals.arguments["names"] == ["docker.io/library/mine:1"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_one_that_ends_meanwhile_is_committed(verb, tmp_path):
    @story
    async def ends(w):
        await w.run()

        async def gone(container_id):
            raise NotFound("container", container_id)

        setattr(w.isolation, verb, gone)
        assert await _commit(w, _Arrivals())

    ends(tmp_path)
