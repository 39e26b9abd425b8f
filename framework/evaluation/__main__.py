"""`python -m framework.evaluation VERB`: evaluation outside of training runs and edits."""

import sys
from collections.abc import Sequence

from framework.command_line import run_verb

PROGRAM = "python -m framework.evaluation"
VERBS = {
    "publish": (
        "framework.evaluation.cards.publish:publish",
        "publish a training run as a model folder with a measured card",
    ),
    "publish-encoder": (
        "framework.evaluation.cards.publish:publish_encoder",
        "put a trained encoder and its report into its generator's model folder",
    ),
    "publish-editor": (
        "framework.evaluation.cards.publish:publish_editor",
        "put a trained latent transformer into its generator's model folder",
    ),
    "neighbours": (
        "framework.evaluation.generator.neighbours:neighbours",
        "show generated pictures beside their nearest training pictures",
    ),
    "keypoints": (
        "framework.evaluation.drag.keypoint_training:train_judge",
        "train the judge that finds key points of toy cars",
    ),
    "traits": (
        "framework.evaluation.text.judge:train",
        "train the judge that reads traits off toy cars",
    ),
    "text": (
        "framework.evaluation.text.report:text",
        "measure a text encoder: retrieval, what texts draw, change and keep",
    ),
    "text-photographs": (
        "framework.evaluation.text.photographs:text_photographs",
        "measure texts for a model of photographs, learned from written captions",
    ),
    "parts": (
        "framework.evaluation.translation.reader:train_reader",
        "train the judge that reads parts and sketches back from toy cars",
    ),
    "translation": (
        "framework.evaluation.translation.bench:translation",
        "compare ways from sketches or labels to pictures, on held-out toy cars",
    ),
    "fill": (
        "framework.evaluation.filling:fill",
        "compare ways to fill holes, and two libraries', where the truth is known",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; see `framework.command_line.run`."""
    return run_verb(PROGRAM, VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main())
