/*
 * Streams - standard input, output and error of a program, whoever started it.
 */
#pragma once

/*
 * To be called before anything is opened: what is closed of the three would be the number of the
 * next descriptor, and what is printed would go into a socket or a client's memory. They become
 * /dev/null, the wrong way round, so that reading and writing fail as they would have.
 */
void streams_open(void);
