"""The lab: what each backend's autograd really does, by running it.

    question    what a question is, and the evidence it asks for
    recording, gradients, changes, functions, processes    the questions, each with its judge
    evidence    whether an answer gave what the question asks for
    interview   asking: one worker for each backend, one answer after the other
    show        the matrix and the full view, for a terminal

The host owns the questions and the sentences, a plugin the code (`compare_ag.Answer`); what is shown is found from
what that code did just now. Layers: above `host`, whose workers it uses; the conformance kit asks it too.
"""

from __future__ import annotations

from compare_ag.lab import changes, functions, gradients, processes, recording
from compare_ag.lab.question import REGISTERED, Conclusion, Demonstration, Field, Question, Raised

__all__ = ["GROUPS", "QUESTIONS", "Conclusion", "Demonstration", "Field", "Question", "Raised"]

GROUPS = [module.GROUP for module in (recording, gradients, changes, functions, processes)]
"""in the order in which a learner meets them"""

QUESTIONS: dict[str, Question] = {
    question.id: question for group in GROUPS for question in REGISTERED.values() if question.group == group
}
"""by id, in the order in which they are shown"""
