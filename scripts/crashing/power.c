/* A disk that loses its power, for one folder: what is synchronised is copied to another, and only that is left.
 *
 * The strictest of disks: what no fsync or fdatasync asked for is not there, however long ago it was written. The copy
 * is made in place, so a kill within one leaves what a torn write leaves. A file that was removed is there again,
 * until its directory is synchronised.
 *
 * POWER_FROM and POWER_TO are the folders. With POWER_LOST=N the power goes at the Nth copy, in its midst.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int lost(void)
{
	static int copies; /* of one thread: only one writes */
	const char *wanted = getenv("POWER_LOST");

	return wanted && ++copies == atoi(wanted);
}

static void keep_file(int fd, off_t whole, const char *copy)
{
	char buffer[4096];
	ssize_t size;
	off_t at = 0, end = lost() ? whole / 2 : -1;
	int out = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (out < 0)
		abort();
	/* Not by its name: to close a second descriptor of a file would give up the locks that the process has on it. */
	while ((size = pread(fd, buffer, sizeof buffer, at)) > 0) {
		if (end >= 0 && at >= end)
			kill(getpid(), SIGKILL);
		if (pwrite(out, buffer, size, at) != size)
			abort();
		at += size;
	}
	if (end >= 0)
		kill(getpid(), SIGKILL);
	if (size < 0 || ftruncate(out, at))
		abort();
	close(out);
}

static void keep_removals(const char *folder, const char *copy)
{
	DIR *kept = opendir(copy);
	struct dirent *entry;
	char path[8192];

	if (!kept)
		abort();
	while ((entry = readdir(kept))) {
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (access(path, F_OK) && errno == ENOENT) {
			snprintf(path, sizeof path, "%s/%s", copy, entry->d_name);
			unlink(path);
		}
	}
	closedir(kept);
}

static void keep(int fd)
{
	const char *from = getenv("POWER_FROM"), *to = getenv("POWER_TO");
	char link[64], path[4096], copy[8192];
	struct stat found;
	ssize_t size;

	if (!from || !to)
		return;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	size = readlink(link, path, sizeof path - 1);
	if (size < 0 || fstat(fd, &found))
		return;
	path[size] = 0;
	if (!strcmp(path, from)) {
		keep_removals(from, to);
	} else if (!strncmp(path, from, strlen(from)) && path[strlen(from)] == '/' && S_ISREG(found.st_mode)) {
		snprintf(copy, sizeof copy, "%s%s", to, path + strlen(from));
		keep_file(fd, found.st_size, copy);
	}
}

static int synchronised(const char *name, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
	int result = real(fd);

	if (!result) {
		keep(fd);
		errno = 0;
	}
	return result;
}

int fsync(int fd)
{
	return synchronised("fsync", fd);
}

int fdatasync(int fd)
{
	return synchronised("fdatasync", fd);
}
