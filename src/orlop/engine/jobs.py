"""The table of jobs: what workers can do, by name. A job gets plain values, a function that tells progress, and descriptors
(the worker closes them); what it returns goes back as JSON, an OrlopError as the same class, an OSError as an OrlopError.

Each group is imported when one of its jobs is wanted: a worker that starts for a `cp` must not wait for HTTP and TLS.
"""

from collections.abc import Callable, Mapping
from typing import Any

from orlop.spec.errors import NotFound

Job = Callable[[dict[str, Any], Callable[[dict[str, Any]], None], tuple[int, ...]], Any]


def tree_jobs() -> Mapping[str, Job]:
    """On directory trees."""
    from orlop.engine import tree_jobs as jobs

    return {
        "archive.get": jobs.get_archive,
        "archive.put": jobs.put_archive,
        "archive.stat": jobs.stat_path,
        "tree.export": jobs.export_tree,
        "tree.usage": jobs.measure_trees,
        "volume.copy_up": jobs.copy_up,
    }


def storage_jobs() -> Mapping[str, Job]:
    """On images, layers and snapshots."""
    from orlop.engine import storage_jobs as jobs

    return {
        "image.arrive": jobs.arrive_image,
        "image.bootstrap": jobs.bootstrap_image,
        "image.load": jobs.load_images,
        "image.save": jobs.save_images,
        "layer.commit": jobs.commit_layer,
        "layer.discard": jobs.discard_layer,
        "layer.import": jobs.import_layer,
        "layers.commit": jobs.commit_layers,
        "snapshot.changes": jobs.list_changes,
        "snapshot.prepare": jobs.prepare_snapshot,
        "snapshot.usage": jobs.measure_snapshots,
        "store.purge": jobs.purge_store,
    }


def registry_jobs() -> Mapping[str, Job]:
    """That talk to registries."""
    from orlop.engine import registry_jobs as jobs

    return {
        "image.settle": jobs.settle_image,
        "layer.download": jobs.import_from,
        "layer.pull": jobs.pull_layer,
        "layer.push": jobs.push_layer,
        "push.manifest": jobs.push_manifest,
        "push.open": jobs.open_push,
        "registry.describe": jobs.describe_image,
        "registry.login": jobs.log_in,
        "registry.resolve": jobs.resolve_image,
        "registry.search": jobs.search,
        "registry.tags": jobs.list_tags,
    }


GROUPS = (tree_jobs, storage_jobs, registry_jobs)  # the lightest first


def find(name: str) -> Job:
    """A job by its name. Raises NotFound."""
    for group in GROUPS:
        if job := group().get(name):
            return job
    raise NotFound("job", name)
