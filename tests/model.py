"""A circuit in twenty lines, to hold the real one against: what design says, with nothing done for speed or reuse."""


from rapidfailover.circuit import ANYBODY, Asker


class Model:
    def __init__(self, threshold=3, cooldown=300.0, longest=3600.0, first_early=2.0):
        self.threshold, self.cooldown, self.longest, self.first_early = threshold, cooldown, longest, first_early
        self.age = 0  # how often it changed: a verdict from before is late
        self.forget()

    def forget(self):
        self.faults, self.limits, self.limited = 0, 0, False
        self.patience, self.patient = 0.0, [0, 0.0]  # seconds for which it is open; faults of calls that give more, and theirs
        self.opener, self.tried = 0, False
        self.open = self.hold_until = self.lease = 0.0  # until when; 0: not at all
        self.pause, self.early_from = self.first_early, 0.0

    def admit(self, now, lease, asker=Asker()):
        """(age, early, limits, whether it gives more time than those for which it is open, a trial: the hold before) or None."""
        patient = bool(self.open) and asker.seconds > self.patience and not asker.background
        at_once = asker.question and not self.tried and asker.question != self.opener
        early = asker.early and not self.limited and (at_once or now >= self.early_from)
        if now < self.hold_until or not patient and (now < self.lease or now < self.open and not early):
            return None
        if not self.open and not self.hold_until or patient:  # after a hold too one goes first
            return self.age, False, self.limits, patient, None
        self.age, self.lease, self.tried = self.age + 1, now + lease, self.tried or now < self.open
        return self.age, now < self.open, self.limits, False, self.hold_until

    def release(self, ticket):
        if ticket[0] == self.age and not ticket[3]:
            self.lease = 0.0

    def fault(self, now, ticket=None, limited=False, given=ANYBODY, question=0):
        if ticket and ticket[0] != self.age:
            return
        if ticket and ticket[1]:
            return self.put_off(now)
        if ticket and ticket[3]:
            self.patient = [self.patient[0] + 1, max(self.patient[1], given)]
            if self.patient[0] < self.threshold:
                return
            self.faults, self.patience = self.patient
        else:
            self.lease = 0.0 if ticket and ticket[4] is not None else self.lease
            self.faults, self.patience = self.faults + 1, max(self.patience, given)
        if self.faults >= self.threshold:
            self.patient, self.opener, self.tried = [0, 0.0], question, False
            self.age, self.lease, self.limited = self.age + 1, 0.0, limited
            self.open, self.early_from = now + min(self.cooldown * self.faults, self.longest), now + self.pause

    def success(self, ticket=None, took=0.0, now=0.0):
        if ticket and ticket[0] == self.age and (ticket[3] or ticket[1]) and took > self.patience:
            self.patient = [0, 0.0]
            if ticket[1]:
                self.put_off(now)
        elif not ticket or ticket[0] == self.age:
            held, self.age = 0.0 if ticket and ticket[4] == self.hold_until else self.hold_until, self.age + bool(self.open)
            self.forget()
            self.hold_until = held

    def put_off(self, now):
        self.lease, self.pause = 0.0, min(2 * self.pause, 60.0)
        self.early_from = now + self.pause

    def hold(self, now, seconds):
        self.hold_until = max(self.hold_until, now + min(seconds, self.longest))

    def limit(self, now, seconds, ticket):
        self.hold(now, seconds)
        again = 0 < self.limits == ticket[2] and seconds < self.cooldown
        self.limits += 1
        if seconds < 1.0 or again:
            self.fault(now, ticket, limited=True)
        else:
            self.release(ticket)

    def reset(self):
        self.age += 1
        self.forget()

    def state(self, now):
        return "closed" if not self.open else "open" if now < self.open else "half-open"
