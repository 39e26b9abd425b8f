"""What waits for a page and for the worker, and which edits led to which."""

import pytest

from framework.studio import messages
from framework.studio.frames import Frame
from framework.studio.inbox import MAX_WAITING, Inbox, Question
from framework.studio.messages import BadMessage, State
from framework.studio.outbox import MAX_NOTES, MAX_ROWS, Outbox
from framework.studio.session import Session
from framework.studio.storage import Storage
from framework.studio.trail import MOST_EARLIER, Kept, Trail


def picture_frame(step: int = 0) -> Frame:
    import numpy as np

    return Frame(np.full((4, 4, 3), step, np.uint8), step)


def test_the_newest_frame_wins_and_few_are_under_way():
    box = Outbox()
    for step in range(50):
        box.show_frame(picture_frame(step))
    assert len([m for m in box.take() if isinstance(m, bytes)]) == 1
    box.show_frame(picture_frame(60))
    assert box.take() and not box.wants_frame
    box.show_frame(picture_frame(61))
    box.show_frame(picture_frame(62))
    assert box.take() == []  # two are not shown yet
    box.acknowledge(10**9)  # no more than were sent
    (data,) = box.take()
    assert isinstance(data, bytes) and data[8:12] == (62).to_bytes(4, "little")


# F18
def test_what_waits_is_bounded():
    box = Outbox()
    for number in range(5000):
        box.add_row([float(number)])
        box.tell(messages.Note(str(number)))
        box.show(State(step=number))
    texts = [m for m in box.take() if isinstance(m, str)]
    assert len(texts) == MAX_NOTES + 2
    assert str(texts).count("], [") == MAX_ROWS - 1 and '"step": 4999' in texts[-1]


# F19
def test_too_many_commands_are_refused(models, storage):
    session = Session(models, storage)
    for _ in range(MAX_WAITING):
        session.put(messages.Run())
    with pytest.raises(BadMessage):
        session.put(messages.Run())


def test_of_several_places_in_a_row_only_the_last_is_taken():
    box = Inbox()
    for command in (messages.Go(1), messages.Go(4), messages.Run(), messages.Go(2)):
        box.put(command)
    taken = [box.take() for _ in range(3)]
    assert taken == [messages.Go(4), messages.Run(), messages.Go(2)]
    assert not box and box.take() is None


def test_what_is_replaced_is_not_answered():
    box, questions = Inbox(), [Question(lambda: 1), Question(lambda: 2)]
    questions[0].answer()
    box.put(questions[1])
    box.put(messages.Run())
    box.replace(messages.Stop())
    questions[1].answer()
    assert questions[0].future.result(0) == 1 and questions[1].future.cancelled()
    assert box.take() == messages.Stop() and not box


def kept(storage: Storage) -> Kept:
    return Kept(object(), storage.new_folder())  # type: ignore[arg-type]  # a trail asks no edit


def test_a_trail_leads_back_and_on_until_another_way_is_taken(storage):
    first, second, third = (kept(storage) for _ in range(3))
    trail = Trail(storage)
    assert not trail.leads_back and not trail.leads_on
    trail.follow(first)
    assert trail.back(second) is first and trail.leads_on and not trail.leads_back
    assert trail.on(first) is second and trail.leads_back and not trail.leads_on
    trail.back(second)
    trail.follow(first)  # and not to the second again
    assert not trail.leads_on and not second.folder.exists() and first.folder.exists()
    trail.follow(third)
    trail.forget()
    assert not trail.leads_back and not first.folder.exists() and not third.folder.exists()


def test_a_trail_forgets_the_first_of_too_many(storage):
    edits = [kept(storage) for _ in range(MOST_EARLIER + 2)]
    trail = Trail(storage)
    for edit in edits:
        trail.follow(edit)
    assert [edit.folder.exists() for edit in edits] == [False] * 2 + [True] * MOST_EARLIER
