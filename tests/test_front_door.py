import subprocess
import sys

import pytest

import framework


def fresh(program: str) -> str:
    """What a program prints in a Python of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, framework; dir(framework); framework.DragSettings; framework.UserError;"
        "print({'torch', 'numpy', 'lightning', 'wandb', 'PIL'} & set(sys.modules))"
    )
    assert fresh(program) == "set()"


@pytest.mark.parametrize("name", framework.__all__)
def test_every_public_name_is_there_and_comes_from_its_home(name):
    assert getattr(framework, name) is not None
    assert name in dir(framework)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'drags'"):
        _ = framework.drags


def test_the_room_is_a_room_and_the_function_a_function():
    program = "import framework.drag as room; from framework import drag_points as drag\n"
    program += "print(callable(room), drag.__module__)"
    assert fresh(program) == "False framework.drag.algorithm"


def test_the_front_doors_drag_drags(tiny_generator):
    from framework import DragSettings, drag_points

    ws = tiny_generator.mapping.w_avg.expand(1, tiny_generator.num_ws, -1)
    settings = DragSettings(max_steps=1)
    steps = list(drag_points(tiny_generator, ws, [(20, 40)], [(50, 40)], settings=settings))
    assert [step.step for step in steps] == [0, 1]
    with pytest.raises(framework.UserError, match="outside the picture"):
        drag_points(tiny_generator, ws, [(20, 40)], [(64, 40)])
