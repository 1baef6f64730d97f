"""What is wrong with a file or a message, in one line for people."""

from __future__ import annotations

from pydantic import ValidationError


def what_is_wrong(error: ValidationError) -> str:
    """The first thing that is wrong: its field and the rule, or the rule alone where the whole breaks it.

    Never the value, which may be a secret. The text of ``error`` quotes it, and so does a traceback that shows ``error``:
    who raises an error of ours in its place says ``from None``.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    field, rule = [str(part) for part in first["loc"]], first["msg"]
    if first["type"] == "union_tag_invalid":  # the one rule of our models whose words quote the value
        field.append(first["ctx"]["discriminator"].strip("'"))
        rule = f"input should be one of {first['ctx']['expected_tags']}"
    if rule[1:2].islower():  # no acronym
        rule = rule[0].lower() + rule[1:]
    return f"{'.'.join(field)}: {rule}" if field else rule
