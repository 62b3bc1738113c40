"""The table of jobs: what workers can do, by name. A job gets plain values, a function that tells progress, and descriptors
(the worker closes them); what it returns goes back as JSON, an OrlopError as the same class, an OSError as an OrlopError."""

from collections.abc import Callable, Mapping
from typing import Any

from orlop.engine import storage_jobs
from orlop.spec.errors import NotFound

Job = Callable[[dict[str, Any], Callable[[dict[str, Any]], None], tuple[int, ...]], Any]

STORAGE: Mapping[str, Job] = {
    "archive.get": storage_jobs.get_archive,
    "archive.put": storage_jobs.put_archive,
    "archive.stat": storage_jobs.stat_path,
    "image.arrive": storage_jobs.arrive_image,
    "image.bootstrap": storage_jobs.bootstrap_image,
    "image.load": storage_jobs.load_images,
    "image.save": storage_jobs.save_images,
    "layer.commit": storage_jobs.commit_layer,
    "layer.discard": storage_jobs.discard_layer,
    "layer.import": storage_jobs.import_layer,
    "layers.commit": storage_jobs.commit_layers,
    "snapshot.changes": storage_jobs.list_changes,
    "snapshot.prepare": storage_jobs.prepare_snapshot,
    "snapshot.usage": storage_jobs.measure_snapshots,
    "store.purge": storage_jobs.purge_store,
    "tree.export": storage_jobs.export_tree,
    "tree.usage": storage_jobs.measure_trees,
    "volume.copy_up": storage_jobs.copy_up,
}


def registry_jobs() -> Mapping[str, Job]:
    """Those that talk to registries. Imported when wanted: HTTP and TLS take longer to import than a `cp` takes."""
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


def find(name: str) -> Job:
    """A job by its name. Raises NotFound."""
    job = STORAGE.get(name) or registry_jobs().get(name)
    if job is None:
        raise NotFound("job", name)
    return job
