"""One file a sink: render a planned notification, deliver it, say what became of it. No rule of escalation is here.

A sink returns an outcome of core.settle and raises nothing that it can foresee. A resend has the ids of the first try.
"""
