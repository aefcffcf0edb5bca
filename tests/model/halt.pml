/* The halt protocol, for Spin. Rules: docs/formats/control.md; "section 5" and the like point there.
 * The full protocol.
 *
 * Time is in ticks of one second or so, read from the beacon service's clock. The constants keep the order of the real ones.
 * The network has no queue: what was signed stays to be read, and a reader has read any set of it, each part early, late, twice,
 * out of order or never. So endpoint and fence keep no memory here: each time they act, their knowledge is guessed anew, from all
 * that knowledge.py could hold by then. A restart, a replay, a second fence and the sink are among the guesses.
 * One batch is followed, of an honest endpoint or of one that lies: the rules never look at two at once.
 */
#define LAST 4 /* the last tick on which anything but the end happens */
#define LEASE 2 /* section 4: 10 s */
#define SKEW 1 /* section 5: 2 s */
#define EPOCHS 3
#define TIMES 6 /* T is below this */

mtype = { NOTHING, CAPTURED, APPENDED, ADMITTED, DONE };
mtype = { ADMIT, WAIT, REFUSE };

/* Who signed what. */
byte now = 1;
byte newest = 1;            /* states 1 to this one are signed by the role resume; each is one epoch on (section 2) */
byte vouched = 1;           /* the state that the beacon service has read and vouches for (section 3) */
byte last = 0;              /* T of its newest beacon */
byte epoch_of[TIMES];       /* the beacon of time T: its epoch, 0 if there is none */
bool names_0[TIMES];        /* whether it lists order 0 */
bool names_1[TIMES];
byte effective[2];          /* two orders to stop are signed; whoever reads them reads them when he does. From when each counts:
                               fixed by the beacon service (section 3), 0 for not yet */
byte lifted[2];             /* the epoch whose state lifts it; 0 for none (section 2: orders only add up) */
bool mine[2] = true;        /* whether it is about the endpoint that is followed */

/* The batch that is followed. */
mtype batch = NOTHING;
bool liar = false;
byte captured = 0;          /* when it was, by the service's clock: nobody in the protocol knows this */
byte epoch = 0;             /* what the batch says of itself */
byte hi = 0;
byte append = 0;            /* what the broker says of it */


bool withheld = false;      /* refused without a reason, or waiting once everything was read */

#define LIFTED_BY(i, e) (lifted[i] != 0 && lifted[i] <= (e))
#define IN_FORCE(i, e) (effective[i] != 0 && !LIFTED_BY(i, e))
#define LATER(a, b) ((a) > (b) -> (a) : (b))

/* What must hold, told with what nobody in the protocol knows. */
#define STOPPED(i) (mine[i] && IN_FORCE(i, epoch))
/* safe: what was captured at or after the effective time is not admitted, though that time be fixed later (P2) */
#define SAFE(i) !(batch == ADMITTED && !liar && STOPPED(i) && captured >= effective[i])
/* stamped: nor is what the broker stamped more than 2 s after it, whatever the endpoint says (section 5, why both times) */
#define STAMPED(i) !(batch == ADMITTED && STOPPED(i) && append > effective[i] + SKEW)
/* bounded: capture has ended a lease after it, though no order ever arrives (section 4) */
#define BOUNDED(i) !(batch == CAPTURED && !liar && STOPPED(i) && captured >= effective[i] + LEASE)
/* owed: all else is admitted once everything was read, is never refused before, and nothing waits for ever (section 5) */
#define DUE(i) !(STOPPED(i) && (hi >= effective[i] || append > effective[i] + SKEW))
#define OWED (!liar && hi <= append + SKEW && DUE(0) && DUE(1))
/* Asked wherever the batch moves or an order gets its time; nothing else can break them. */
inline ask() { assert(SAFE(0) && SAFE(1) && STAMPED(0) && STAMPED(1) && BOUNDED(0) && BOUNDED(1) && !withheld) }

#define WALL now /* the wall clock of the beacon service */
proctype Clock() {
  do
  :: now <= LAST -> now++
  od
}

proctype Officers() {
  do
  :: atomic { now <= LAST && newest < EPOCHS -> newest++; /* a renewal, or a resume that names what it lifts */
       if :: effective[0] != 0 && lifted[0] == 0 -> lifted[0] = newest :: skip fi;
       if :: effective[1] != 0 && lifted[1] == 0 -> lifted[1] = newest :: skip fi;
       ask() }
  od
}

/* section 3: effective = max(wall clock, last T + 1), for ever */
inline accept(i) { effective[i] = LATER(WALL, last + 1); ask() }
/* section 3: T = max(wall clock, last T + 1); {epoch, state, T, orders in force} */
inline vouch() {
  d_step {
    last = LATER(WALL, last + 1);
    if /* once the batch is decided nobody asks what is in a beacon */
    :: batch != ADMITTED && batch != DONE -> epoch_of[last] = vouched; names_0[last] = IN_FORCE(0, vouched); names_1[last] = IN_FORCE(1, vouched)
    :: else -> skip
    fi
  }
}

proctype Beacon() { /* of two orders that are alike, 0 is the first */
  do
  :: atomic { now <= LAST && vouched < newest -> vouched++ } /* section 2: exactly one epoch on; read late, or never */
  :: atomic { now <= LAST && effective[0] == 0 -> accept(0) }
  :: atomic { now <= LAST && effective[1] == 0 && (!mine[1] || effective[0] != 0) -> accept(1) }
  :: atomic { now <= LAST && last < now -> vouch() } /* at most once a tick */
  od
}

/* the broker's stamp, by a clock that is up to 2 s off (section 5) */
inline arrive() { if :: append = now - SKEW :: append = now :: append = now + SKEW fi;  batch = APPENDED }

/* section 4: hi < T + lease, T not ahead of hi, the beacon's state is its own, no order stops it. It may know more orders than the beacon lists,
 * and then it captures less: that is left out. */
proctype Endpoint() {
  byte heard = 0;
  do
  :: atomic { now <= LAST && batch == NOTHING && last != 0 ->
       if /* any beacon, however old */
       :: epoch_of[1] != 0 -> heard = 1
       :: epoch_of[2] != 0 -> heard = 2
       :: epoch_of[3] != 0 -> heard = 3
       :: epoch_of[4] != 0 -> heard = 4
       :: epoch_of[5] != 0 -> heard = 5
       fi;
       if /* permit time: never early, and late by as much as the answer to its request took */
       :: hi = now
       :: hi = now + 1
       fi;
       if
       :: hi < heard + LEASE && heard <= hi && !(mine[0] && names_0[heard]) && !(mine[1] && names_1[heard]) ->
            captured = LATER(WALL, last); epoch = epoch_of[heard]; batch = CAPTURED; ask()
       :: else -> hi = 0
       fi;
       heard = 0 }
  od
}

proctype Liar() { /* it has the keys of an endpoint, and says what it likes; the rules only ever ask whether `hi` is small */
  do
  :: atomic { now <= LAST && batch == NOTHING -> liar = true;
       if
       :: newest >= 1 -> epoch = 1
       :: newest >= 2 -> epoch = 2
       :: newest >= 3 -> epoch = 3
       fi;
       if
       :: hi = 0
       fi;
       arrive() }
  od
}

proctype Broker() { /* the batch comes at once, late, or never */
  do
  :: atomic { now <= LAST && batch == CAPTURED -> arrive() }
  od
}

/* What a fence holds: the state of epoch `state`, the newest beacon `heard`, orders read, orders listed by a beacon it heard. */
#define STAMP epoch /* the epoch by which it judges the batch */
#define LIFT(i) LIFTED_BY(i, state)                        /* a state that it read says so, and from when the order counted */
#define READ(i) (read_##i || LIFT(i))                      /* it is known whom the order is about */
#define KNOWN(i) (READ(i) || listed_##i)
#define TIMED(i) (listed_##i || LIFT(i))
/* section 2: lifted by E or not; what nobody has read may be about anybody */
#define STOPS(i) (KNOWN(i) && !(LIFT(i) && lifted[i] <= STAMP) && (mine[i] || !READ(i)))
#define LATE(i) (hi >= effective[i] || append > effective[i] + SKEW)
#define REFUSES(i) (STOPS(i) && TIMED(i) && LATE(i) && READ(i))
#define BEGUN ((epoch_of[1] >= STAMP && 1 <= append + SKEW) || (epoch_of[2] >= STAMP && 2 <= append + SKEW) || (epoch_of[3] >= STAMP && 3 <= append + SKEW) || (epoch_of[4] >= STAMP && 4 <= append + SKEW) || (epoch_of[5] >= STAMP && 5 <= append + SKEW)) /* E was in force at most 2 s after the broker's stamp: its first beacon says from when */
#define WAITS(i) (STOPS(i) && (!TIMED(i) || (LATE(i) && !READ(i))))

inline decide() { /* section 5, row by row */
  if
  :: hi > append + SKEW -> answer = REFUSE                                        /* future */
  :: else ->
     if
     :: state == 0 -> answer = WAIT                                               /* no state */
     :: state != 0 && STAMP > state ->                                            /* E not known */
        answer = (heard != 0 && epoch_of[heard] <= state && heard > append + SKEW -> REFUSE : WAIT)
     :: else ->
        if
        :: !BEGUN -> answer = REFUSE                                              /* epoch not begun */
        :: BEGUN && (REFUSES(0) || REFUSES(1)) -> answer = REFUSE                 /* halted */
        :: else ->
           if
           :: WAITS(0) || WAITS(1) -> answer = WAIT                               /* no effective time, or not read yet */
           :: else -> answer = (heard != 0 && epoch_of[heard] >= STAMP && epoch_of[heard] <= state && heard >= hi && heard + SKEW >= append -> ADMIT : WAIT) /* T covers both times */
           fi
        fi
     fi
  fi
}
inline settled() { hi = 0; epoch_of[1] = 0; names_0[1] = 0; names_1[1] = 0; epoch_of[2] = 0; names_0[2] = 0; names_1[2] = 0; epoch_of[3] = 0; names_0[3] = 0; names_1[3] = 0; epoch_of[4] = 0; names_0[4] = 0; names_1[4] = 0; epoch_of[5] = 0; names_0[5] = 0; names_1[5] = 0 } /* nobody asks any more: one state in place of many */
inline forget() { state = 0; heard = 0; read_0 = false; read_1 = false; listed_0 = false; listed_1 = false; answer = 0 }

proctype Fence() {
  byte state = 0, heard = 0;
  bool read_0 = false, read_1 = false, listed_0 = false, listed_1 = false;
  mtype answer = 0;
  do
  :: atomic { now <= LAST && batch == APPENDED -> /* any time, with any knowledge */
       if
       :: state = 0
       :: newest >= 1 -> state = 1
       :: newest >= 2 -> state = 2
       :: newest >= 3 -> state = 3
       fi;
       if
       :: heard = 0
       :: epoch_of[1] != 0 -> heard = 1
       :: epoch_of[2] != 0 -> heard = 2
       :: epoch_of[3] != 0 -> heard = 3
       :: epoch_of[4] != 0 -> heard = 4
       :: epoch_of[5] != 0 -> heard = 5
       fi;
       d_step { listed_0 = names_0[heard]; listed_1 = names_1[heard] };
       if
       :: state >= STAMP && !LIFT(0) ->
            if :: read_0 = true :: skip fi;
            if :: !listed_0 && ((names_0[1] && 1 < heard) || (names_0[2] && 2 < heard) || (names_0[3] && 3 < heard) || (names_0[4] && 4 < heard) || (names_0[5] && 5 < heard)) -> listed_0 = true :: skip fi /* an older beacon listed it */
       :: else /* what it knows of the order beside that makes no difference */
       fi;
       if
       :: state >= STAMP && !LIFT(1) ->
            if :: read_1 = true :: skip fi;
            if :: !listed_1 && ((names_1[1] && 1 < heard) || (names_1[2] && 2 < heard) || (names_1[3] && 3 < heard) || (names_1[4] && 4 < heard) || (names_1[5] && 5 < heard)) -> listed_1 = true :: skip fi
       :: else
       fi;
       d_step {
         decide();
         if
         :: answer == ADMIT -> batch = ADMITTED;  settled()
         :: else -> withheld = withheld || (answer == REFUSE && OWED)
         fi;
         ask(); forget()
       } }
  :: atomic { now == LAST + 1 && batch == APPENDED -> /* the network is whole again: all is read, one more beacon comes */
       vouched = newest;
       if :: effective[0] == 0 -> accept(0) :: skip fi; /* or there never was an order */
       if :: effective[1] == 0 -> accept(1) :: skip fi;
       vouch();
       d_step {
         state = newest; heard = last; read_0 = effective[0] != 0; read_1 = effective[1] != 0;
         listed_0 = effective[0] != 0; listed_1 = effective[1] != 0;
         decide();
         withheld = withheld || answer == WAIT || (OWED && answer != ADMIT);
         batch = (answer == ADMIT -> ADMITTED : DONE); 
         ask(); settled(); forget()
       } }
  od
}

init { /* order 0 is about the endpoint that is followed; order 1 is a second one, or about others */
  atomic {
    if :: mine[1] = false :: skip fi;
    run Clock(); run Officers(); run Beacon(); run Fence(); run Endpoint(); run Broker()
  }
}
