"""Wire formats, each one file of pure functions behind `core.dialect.Dialect`.

paths          where the callers of each come: all that is imported before the first of them does
openai_chat    /v1/chat/completions and its neighbours: completions, embeddings, rerank, sounds and pictures
openai_head    the head of a chat, and what of its form can be seen on the way
openai_prompt  what such a request asks
openai_reply   what the form of such a reply shows; openai_mending puts in what it lacks
openai_codec   joins what translates it: request, asking, events, answer; openai_embedding, for vectors
openai_responses  /v1/responses; responses_codec joins what translates it: request, wishes, asking, events, reply, echo,
               seal, usage; responses_mending puts in what a llama-server's lacks; responses_keeping is where a request
               goes on, responses_kept and responses_items write again what is kept
impressions    what the form of a reply shows, of any dialect that has events
complaint      what an upstream's error says, in whichever shape
ollama         /api/chat and its neighbours; ollama_codec joins what translates them (request, outgoing, reply, values);
               ollama_context is where a kept conversation goes on
anthropic_messages  /v1/messages and its count of tokens; anthropic_codec names what translates them
"""
