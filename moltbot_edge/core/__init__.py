"""Values and decisions: no I/O, no clock, no randomness. Time and chance come in as arguments.

errors      the one tree of what can go wrong, with status and type as data
head        what a request says before its messages: model, stream, session
decoding    what reading other people's JSON may raise
events      usage and timings, folded from a reply's bytes
sse         server-sent events, cut anywhere; ndjson, lines
multipart   a form's model, read and replaced
catalog     alias -> deployments
scoreboard  outcomes folded into what is known of a deployment
routing     who may answer, and the policy's seam; staying, where a kept conversation goes on
dialect     a wire format's seam
chat        what a request asks, in no dialect; reply, what comes back, event by event
hygiene     a transcript made fit for the model that reads it: calls, with their results; turns, of whom; target, what
            that model takes; tool_ids, how it spells them
session     a kept conversation; joining, what a caller sends put on it; record, a turn written down; store, the seam
embedding   texts -> vectors, in no dialect
stable      a prompt that means the same, written the same; volatile moves a clock out of its beginning
lease       what a request and an engine of this board say to each other
"""
