/* A llama-server that loads nothing: it lists its flags, says that it is well, and answers every question alike.

   For a root that holds no interpreter and no library, so it is static and asks for no file but its standard streams.
   Only what the gateway asks of the real one, one caller at a time. */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char HELP[] =
    "-m,    --model FNAME                    model path to load\n"
    "--host HOST                             ip address to listen\n"
    "--port PORT                             port to listen\n";

static const char REPLY[] =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"a-model\",\"choices\":[{\"index\":0,"
    "\"message\":{\"role\":\"assistant\",\"content\":\"from the engine\"},\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}";

static void answer(int caller, const char *body) {
    char head[128];
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                        "Connection: close\r\n\r\n", strlen(body));
    if (write(caller, head, size) < 0 || write(caller, body, strlen(body)) < 0)
        perror("write");
}

/* The head and as much of the body as its length says. */
static void serve(int caller) {
    static char asked[65536];
    size_t size = 0;
    const char *end = NULL;
    while (end == NULL && size < sizeof asked - 1) {
        ssize_t more = read(caller, asked + size, sizeof asked - 1 - size);
        if (more <= 0)
            return;
        asked[size += more] = 0;
        end = strstr(asked, "\r\n\r\n");
    }
    const char *length = strcasestr(asked, "content-length:");
    size_t whole = end + 4 - asked + (length == NULL || length > end ? 0 : strtoul(length + 15, NULL, 10));
    while (size < whole && size < sizeof asked - 1) {
        ssize_t more = read(caller, asked + size, sizeof asked - 1 - size);
        if (more <= 0)
            return;
        size += more;
    }
    if (strncmp(asked, "POST ", 5) == 0)
        answer(caller, REPLY);
    else
        answer(caller, strncmp(asked, "GET /slots", 10) == 0 ? "[]" : "{\"status\":\"ok\"}");
}

int main(int count, char **words) {
    int port = 0;
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--help") == 0)
            return fputs(HELP, stdout) < 0;
        if (strcmp(words[i], "--port") == 0 && i + 1 < count)
            port = atoi(words[i + 1]);
    }
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 16) < 0) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int caller = accept(listener, NULL, NULL);
        if (caller >= 0) {
            serve(caller);
            close(caller);
        }
    }
}
