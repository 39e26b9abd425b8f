"""Continue an edit where it stopped, with another target; then undo and redo.

python examples/drag.py toycars64 out/edit.safetensors
python examples/continue_edit.py toycars64 out/edit.safetensors out/further.safetensors
"""

import sys

from framework import DragSession, EditFile, load_generator


def main(
    model: str = "toycars64",
    source: str = "out/edit.safetensors",
    out: str = "out/further.safetensors",
) -> None:
    """Continue the edit in `source` and write it to `out`."""
    generator = load_generator(model)
    record = EditFile.load(source)
    record.check_model(generator)  # an edit is valid only for the weights it was made with

    session = DragSession.from_edit_file(generator, record)
    x, y = session.targets[0]
    session.move_target(0, (x, y - 2))
    for step in session.run(max_steps=20):
        print(f"step {step.step}: {step.mean_distance_px:.2f} px to go")

    session.undo(2)
    print(f"two steps back: {session.can_redo} can be redone")
    session.redo(2)
    session.edit_file(model).save(out)
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
