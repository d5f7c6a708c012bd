/* NAME TIMES: nanoseconds a call, on sockets of this process alone. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long times = atol(argv[2]);
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct timespec begin, end;
	there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int datagrams = socket(AF_INET, SOCK_DGRAM, 0), pair[2];
	struct iovec vector = { "x", 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	char room[64];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || (argc > 2 && !strcmp(argv[1], "send") && connect(datagrams, (void *)&there, sizeof there)))
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long i = 0; i < times; i++) {
		if (!strcmp(argv[1], "connect"))
			connect(datagrams, (void *)&there, sizeof there);
		else if (!strcmp(argv[1], "sendto"))
			sendto(datagrams, "x", 1, 0, (void *)&there, sizeof there);
		else if (!strcmp(argv[1], "send"))
			send(datagrams, "x", 1, 0);
		else {
			sendmsg(pair[0], &message, 0);
			recv(pair[1], room, sizeof room, 0);
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%f\n", ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / times);
	return 0;
}
