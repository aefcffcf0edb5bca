"""The catalogue with few partitions, for clusters that live as long as a test."""

from __future__ import annotations

from dataclasses import replace

from byleave.core.topics import Catalogue


def narrowed(catalogue: Catalogue, partitions: int) -> Catalogue:
    """With so many partitions. A topic of one has a total order that its readers rely on: that one stays as it is."""
    topics = (topic if topic.partitions == 1 else replace(topic, partitions=partitions) for topic in catalogue.topics)
    return replace(catalogue, topics=tuple(topics))
