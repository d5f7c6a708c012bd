/* What a hostile target tries against the network broker. Arguments: MODE GRANTED-PORT FORBIDDEN-PORT DIRECTORY ROUNDS. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Each value is really stored, and stays for a moment. */
#define HOLD() do { __asm__ volatile("" ::: "memory"); for (volatile int i = 0; i < 50; i++); } while (0)

static struct sockaddr_in address, good, bad;
static struct sockaddr_un path_good, path_bad, path_address;
static struct msghdr header;
static char directory[64];
static atomic_int done;
static int shared_fd, one_fd, two_fd;

static void *flip_address(void *unused)
{
	while (!done) {
		memcpy(&address, &bad, sizeof bad);
		HOLD();
		memcpy(&address, &good, sizeof good);
		HOLD();
	}
	return unused;
}

static void *flip_pointer(void *unused)
{
	while (!done) {
		header.msg_name = &bad;
		HOLD();
		header.msg_name = &good;
		HOLD();
	}
	return unused;
}

static void *flip_path(void *unused)
{
	while (!done) {
		memcpy(&path_address, &path_bad, sizeof path_bad);
		HOLD();
		memcpy(&path_address, &path_good, sizeof path_good);
		HOLD();
	}
	return unused;
}

static void *flip_link(void *unused)
{
	char link[96], fresh[96], good_name[96], bad_name[96];
	snprintf(link, sizeof link, "%s/link", directory);
	snprintf(fresh, sizeof fresh, "%s/fresh", directory);
	snprintf(good_name, sizeof good_name, "%s/granted", directory);
	snprintf(bad_name, sizeof bad_name, "%s/secret", directory);
	for (int turn = 0; !done; turn++) {
		unlink(fresh);
		symlink(turn & 1 ? good_name : bad_name, fresh);
		rename(fresh, link);
	}
	return unused;
}

static void *flip_names(void *unused)
{
	char one[96], two[96];
	snprintf(one, sizeof one, "%s/granted", directory);
	snprintf(two, sizeof two, "%s/secret", directory);
	int turn = 0;
	for (; !done || turn & 1; turn++)
		syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, two, 2 /* RENAME_EXCHANGE */);
	return unused;
}

static void *flip_descriptor(void *unused)
{
	for (int turn = 0; !done; turn++)
		dup2(turn & 1 ? one_fd : two_fd, shared_fd);
	return unused;
}

static struct sockaddr_in ip(int family, int port)
{
	struct sockaddr_in made = { .sin_family = family, .sin_port = htons(port) };
	made.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return made;
}

int main(int argc, char **argv)
{
	const char *mode = argv[1];
	int rounds = argc > 5 ? atoi(argv[5]) : 0, went = 0, refused = 0, other = 0;
	pthread_t thread;
	void *(*flipper)(void *) = NULL;
	good = ip(AF_INET, atoi(argv[2]));
	bad = ip(AF_INET, atoi(argv[3]));
	address = good;
	snprintf(directory, sizeof directory, "%s", argv[4]);
	path_good.sun_family = path_bad.sun_family = AF_UNIX;
	snprintf(path_good.sun_path, 100, "%s/granted", directory);
	snprintf(path_bad.sun_path, 100, "%s/secret", directory);
	path_address = path_good;
	if (!strcmp(mode, "connect") || !strcmp(mode, "sendto"))
		flipper = flip_address;
	else if (!strcmp(mode, "sendmsg"))
		flipper = flip_pointer;
	else if (!strcmp(mode, "path"))
		flipper = flip_path;
	else if (!strcmp(mode, "link")) {
		flipper = flip_link;
		snprintf(path_address.sun_path, 100, "%s/link", directory);
	} else if (!strcmp(mode, "names"))
		flipper = flip_names;
	else if (!strcmp(mode, "descriptor")) {
		/* The unspecified family means the connected peer to one of the two, and an address to the other. */
		struct sockaddr_in6 peer = { .sin6_family = AF_INET6, .sin6_port = good.sin_port };
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &peer.sin6_addr);
		flipper = flip_descriptor;
		one_fd = socket(AF_INET, SOCK_DGRAM, 0);
		two_fd = socket(AF_INET6, SOCK_DGRAM, 0);
		shared_fd = dup(one_fd);
		if (connect(two_fd, (void *)&peer, sizeof peer))
			return perror("connect"), 1;
		address = ip(AF_UNSPEC, atoi(argv[3]));
	}
	if (flipper && pthread_create(&thread, NULL, flipper, NULL))
		return 2;
	for (int round = 0; round < rounds; round++) {
		int result = -1, fd = -1;
		errno = 0;
		if (!strcmp(mode, "connect")) {
			fd = socket(AF_INET, SOCK_STREAM, 0);
			result = connect(fd, (void *)&address, sizeof address);
		} else if (!strcmp(mode, "sendto")) {
			fd = socket(AF_INET, SOCK_DGRAM, 0);
			result = sendto(fd, "x", 1, 0, (void *)&address, sizeof address);
		} else if (!strcmp(mode, "sendmsg")) {
			struct iovec vector = { "x", 1 };
			fd = socket(AF_INET, SOCK_DGRAM, 0);
			header.msg_namelen = sizeof good;
			header.msg_iov = &vector;
			header.msg_iovlen = 1;
			if (!header.msg_name)
				header.msg_name = &good;
			result = sendmsg(fd, &header, 0);
		} else if (!strcmp(mode, "path") || !strcmp(mode, "link") || !strcmp(mode, "names")) {
			fd = socket(AF_UNIX, SOCK_STREAM, 0);
			result = connect(fd, (void *)&path_address, sizeof path_address);
		} else if (!strcmp(mode, "descriptor")) {
			result = sendto(shared_fd, "x", 1, 0, (void *)&address, sizeof address);
		} else
			return 3;
		if (result >= 0)
			went++;
		else if (errno == EACCES)
			refused++;
		else
			other++;
		if (fd >= 0)
			close(fd);
	}
	done = 1;
	if (flipper)
		pthread_join(thread, NULL);
	printf("%d %d %d\n", went, refused, other);
	return 0;
}
