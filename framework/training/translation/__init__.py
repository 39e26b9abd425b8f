"""Trainings of translations: from sketches, labels or other pictures to pictures."""
