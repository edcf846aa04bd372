"""The callers' side: HTTP/1.1 in, ASGI inside.

listener    from the first socket to the last reply
callers     who is connected, and what is being served
connection  one caller's connection: bounded, one write per event
call        one request on it, and its reply
app         path -> endpoint, nothing between the two
management  what is asked seldom: a Starlette application
reading     endpoints that only tell something
chat        the model endpoints: key, body, head, then the gateway
models      what there is
ollama      the same as Ollama tells it; anthropic, as Anthropic does
feedback    whether a reply was any good
admin       what the gateway knows of itself, for its administrator
status      health, readiness, metrics
auth        keys, and who may use what
limits      all request bodies in memory together
errors      an error before the gateway, in the caller's dialect
"""
