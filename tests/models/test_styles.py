"""Which layer reads which style."""

from framework.models.stylegan2 import styles
from tests.inversion.small import small_generator


def test_the_last_style_is_read_by_the_last_blocks_colours():
    generator = small_generator()
    blocks = generator.synthesis.blocks
    affines = styles.affines(generator)
    assert len(affines) == generator.num_ws and len(set(map(id, affines))) == len(affines)
    assert affines[0] is blocks[0].conv1.affine and affines[-1] is blocks[-1].torgb.affine
