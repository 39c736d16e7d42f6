"""The lab: runs code that shows how each backend's autograd behaves.

    question    the form of a question, and the evidence it asks for
    recording, gradients, changes, functions, processes    the questions, each with its judge
    evidence    whether an answer gave the evidence that the question asks for
    interview   asks the backends: one worker for each, one answer after the other
    output      the matrix and the full view, for a terminal

The host owns the questions and the sentences, a plugin the code (`compare_ag.Answer`); each finding comes from the
values that this code has just returned. Layers: above `host`, whose workers it uses; the conformance kit asks it too.
"""

from __future__ import annotations

from compare_ag.lab import changes, functions, gradients, processes, recording
from compare_ag.lab.question import REGISTERED, Conclusion, Demonstration, Field, Question, Raised

__all__ = ["GROUPS", "QUESTIONS", "Conclusion", "Demonstration", "Field", "Question", "Raised"]

GROUPS = [module.GROUP for module in (recording, gradients, changes, functions, processes)]
"""in an order for learners"""

QUESTIONS: dict[str, Question] = {
    question.id: question for group in GROUPS for question in REGISTERED.values() if question.group == group
}
"""by id, in the order in which they are shown"""
