"""The mailbox without Ray: what the owner and two ranks see."""

import asyncio

import pytest

from orchestrator.mailbox import Letter, Mailbox


def together(scenario):
    """Run ``scenario(mailbox)``; whatever hangs fails."""

    async def bounded():
        await asyncio.wait_for(scenario(Mailbox()), 5)

    asyncio.run(bounded())


async def is_waiting(task):
    await asyncio.sleep(0.02)
    return not task.done()


def test_a_job_reaches_every_rank_and_its_outcome_the_owner():
    async def scenario(box):
        ranks = [asyncio.create_task(box.get(0)) for _ in range(2)]
        assert await is_waiting(ranks[0])
        assert await box.put("job") == 1
        assert [await rank for rank in ranks] == [(1, "job"), (1, "job")]
        assert await box.tell(1, Letter("event", "step")) == 0
        assert await box.tell(1, Letter("outcome", "good")) == 1
        assert await box.take(1) == [Letter("event", "step"), Letter("outcome", "good")]
        again = asyncio.create_task(box.get(0))
        assert await is_waiting(again), "a job that is over is handed out to nobody"
        assert await box.put("next") == 2
        assert await again == (2, "next")

    together(scenario)


def test_who_tells_progress_waits_until_the_owner_has_dealt_with_it():
    async def scenario(box):
        await box.put("job")
        telling = asyncio.create_task(box.tell(1, Letter("event"), wait=True))
        assert await box.take(1) == [Letter("event")]
        assert await is_waiting(telling), "taken is not dealt with"
        owner = asyncio.create_task(box.take(1))
        assert await telling == 0
        await box.tell(1, Letter("ready"))
        assert await owner == [Letter("ready")]

    together(scenario)


def test_a_stop_answers_who_waits_and_who_tells_later():
    async def scenario(box):
        await box.put("job")
        telling = asyncio.create_task(box.tell(1, Letter("event"), wait=True))
        assert await is_waiting(telling)
        await box.stop(143)
        assert await telling == 143
        assert await box.tell(1, Letter("event"), wait=True) == 143
        await box.put("next")
        assert await box.tell(2, Letter("event")) == 0, "a stop is for one job"

    together(scenario)


def test_a_rank_of_an_earlier_job_is_told_to_stop_and_not_heard():
    async def scenario(box):
        await box.put("job")
        waiting = asyncio.create_task(box.tell(1, Letter("event"), wait=True))
        assert await is_waiting(waiting)
        await box.put("next")
        assert await waiting == 1
        assert await box.tell(1, Letter("outcome", "late")) == 1
        assert await box.take(0.01) == []

    together(scenario)


def test_a_group_that_is_built_anew_gets_the_same_job_again():
    async def scenario(box):
        await box.put("job")
        await box.get(0)
        await box.broke({1: "killed"})
        assert await box.take(1) == [Letter("broke", {1: "killed"})]
        assert await box.get(0) == (1, "job")

    together(scenario)


@pytest.mark.parametrize("over", [True, False])
def test_a_break_counts_only_against_the_job_that_the_group_had(over):
    async def scenario(box):
        await box.put("job")
        await box.get(0)
        if over:
            await box.tell(1, Letter("outcome", "failed"))
        else:
            await box.put("next")  # Nobody has it yet.
        await box.broke({0: "raised", 1: "collateral"})
        assert [letter for letter in await box.take(0.01) if letter.kind == "broke"] == []

    together(scenario)


def test_a_group_that_breaks_while_it_is_to_stop_ends_the_job():
    async def scenario(box):
        await box.put("job")
        await box.get(0)
        await box.stop(143)
        await box.broke({0: "killed"})
        assert [letter.kind for letter in await box.take(1)] == ["broke", "outcome"]

    together(scenario)


@pytest.mark.parametrize(("end", "given"), [("abandon", (2, "next")), ("close", None)])
def test_a_job_that_is_given_up_is_handed_out_no_more(end, given):
    async def scenario(box):
        await box.put("job")
        await getattr(box, end)()
        if end == "abandon":
            await box.put("next")
        assert await box.get(0) == given

    together(scenario)
