"""Models that are measured: the choice of networks, and notes on their numbers."""

import sys
from collections.abc import Mapping
from typing import Any

from framework.evaluation.generator.features import DiscriminatorFeatures, Networks, open_networks
from framework.evaluation.generator.measure import MetricSettings, Report
from framework.formats import OpenedModel
from framework.models.digest import state_digest


def choose_networks(settings: MetricSettings, speaks: bool = True) -> Networks:
    """Open the networks to measure with; if it `speaks`, print one line on what is missing.

    Of several processes only one should speak. Raises `UserError` if a setting is impossible.
    """
    settings.check()
    networks = open_networks(
        settings.features, settings.weights, settings.allow_download, settings.ppl > 0
    )
    if networks.note and speaks:
        print(f"note: {networks.note}", file=sys.stderr, flush=True)
    return networks


def note_opponent(report: Report, networks: Networks, opened: OpenedModel) -> None:
    """Note in a report that a generator is judged by its own discriminator, if it is."""
    if not isinstance(networks.features, DiscriminatorFeatures):
        return
    if "discriminator" not in opened.networks:
        return
    if state_digest(opened.network("discriminator")) != networks.features.digest:
        return
    for kind, protocol in report.protocol.items():
        if kind.endswith("_d"):
            protocol["note"] = "the features are of this generator's own opponent: biased"


def seen_kimg(provenance: Mapping[str, Any]) -> float | None:
    """Thousands of images that a model was trained on, if its provenance says so."""
    if "seen_images" in provenance:
        return provenance["seen_images"] / 1000
    return provenance.get("seen_kimg")
