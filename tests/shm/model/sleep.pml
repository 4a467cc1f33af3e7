/* Sleeping and waking: the handshake of sleep word and committed position, evicting and superseding a sleeper, and a
 * writer that dies between any two of its steps and is followed by another.
 *
 * The numbers (P3, S1, …) are those of docs/ring-format.md. Loads and stores are steps of their own, in one order that
 * all see, as seq_cst promises. What acquire and release alone would allow is a load that overtakes the store before it:
 * BUG_P4_BEFORE_P3 and BUG_S2_BEFORE_S1 are that.
 *
 * What is asserted: when nobody can move any more, no reader sleeps that has something to read, is evicted, or is
 * in an epoch that is superseded.
 *
 * Configuration: READERS, PUBLISHES, EVICTIONS, SUPERSEDES, KILLS; OTHERS: how often a reader wakes for another reason
 * (a request, a timer).
 */
#ifndef READERS
#define READERS 2
#endif
#ifndef PUBLISHES
#define PUBLISHES 2
#endif
#ifndef EVICTIONS
#define EVICTIONS 1
#endif
#ifndef SUPERSEDES
#define SUPERSEDES 1
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef OTHERS
#define OTHERS 1
#endif

byte committed = 1;
bool evicted[READERS], superseded;
byte sleep_word[READERS];
bool bytes[READERS]; /* in the FIFO: one or many is the same */

/* No part of the ring. */
byte position[READERS];
bool gone[READERS]; /* has seen that it must join again */
bool die;

inline wake_sleepers() /* P4 */
{
  r = 0;
  do
  :: r < READERS ->
    d_step { seen = sleep_word[r] };
    if
#ifdef BUG_WOKEN_ONCE
    :: seen % 2 == 1 && woken_for[r] == 0 ->
#else
    :: seen % 2 == 1 && seen != woken_for[r] ->
#endif
      d_step { woken_for[r] = seen; bytes[r] = true; seen = 0; r++ }
    :: else -> d_step { seen = 0; r++ }
    fi
  :: else -> r = 0; break
  od
}

inline wake_all()
{
  r = 0;
  do
  :: r < READERS -> woken_for[r] = sleep_word[r]; d_step { bytes[r] = true; r++ }
  :: else -> r = 0; break
  od
}

active proctype writer()
{
  byte woken_for[READERS], seen, r, evictions;
  do
  :: {
#ifdef BUG_RESTART_DOES_NOT_WAKE
    r = 0;
#else
    wake_all();
#endif
end_idle:
    do
    :: committed <= PUBLISHES ->
#ifdef BUG_P4_BEFORE_P3
      wake_sleepers();
      committed = committed + 1
#else
      committed = committed + 1; /* P3 */
      wake_sleepers()
#endif
    :: evictions < EVICTIONS ->
      if
      :: r = 0
#if READERS > 1
      :: r = 1
#endif
      fi;
      evictions++;
#ifdef BUG_E2_BEFORE_E1
      bytes[r] = true;
      evicted[r] = true;
#else
      evicted[r] = true; /* E1 */
#ifndef BUG_NO_E2
      bytes[r] = true; /* E2 */
#endif
#endif
      r = 0
#if SUPERSEDES > 0
    :: !superseded ->
      superseded = true; /* N5 */
      wake_all()
#endif
    :: true -> /* does no more */
end_resting:
      false
    od
  } unless {
    die -> /* its private memory goes with it */
    atomic {
      die = false; seen = 0; r = 0; woken_for[0] = 0;
#if READERS > 1
      woken_for[1] = 0
#endif
    }
  }
  od
}

active proctype killer()
{
  byte kills;
  do
  :: kills < KILLS -> !die; kills++; die = true
  :: break
  od
}

active [READERS] proctype reader()
{
  byte me = _pid - 2, limit, others;
  do
  :: position[me] != committed -> position[me] = committed
  :: else ->
    if
    :: evicted[me] || superseded -> gone[me] = true; break
    :: else
    fi;
#ifdef BUG_S2_BEFORE_S1
    limit = committed;
    sleep_word[me] = sleep_word[me] + 1;
#else
    sleep_word[me] = sleep_word[me] + 1; /* S1 */
    limit = committed; /* S2 */
#endif
    if
    :: limit != position[me] -> skip /* S3 */
    :: limit == position[me] ->
      if
      :: superseded -> skip
      :: else ->
        if
        :: evicted[me] -> skip
        :: else ->
#ifdef BUG_EMPTIED_LATE
          bytes[me] = false;
#endif
end_asleep:
          if /* S4 */
          :: bytes[me] -> bytes[me] = false
          :: others < OTHERS -> others++
          fi
        fi
      fi
    fi;
    limit = 0;
    sleep_word[me] = sleep_word[me] + 1 /* even */
  od
}

#define IS_RIGHT(r) (gone[r] || (position[r] == committed && !evicted[r] && !superseded))

/* Runs when nobody else can. */
active proctype monitor()
{
  timeout ->
  assert(IS_RIGHT(0));
#if READERS > 1
  assert(IS_RIGHT(1))
#endif
}
