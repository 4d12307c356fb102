"""A circuit in twenty lines, to hold the real one against: what design says, with nothing done for speed or reuse."""


class Model:
    def __init__(self, threshold=3, cooldown=300.0, longest=3600.0, first_early=2.0):
        self.threshold, self.cooldown, self.longest, self.first_early = threshold, cooldown, longest, first_early
        self.age = 0  # how often it changed: a verdict from before is late
        self.forget()

    def forget(self):
        self.faults, self.limits, self.limited = 0, 0, False
        self.open = self.hold_until = self.lease = 0.0  # until when; 0: not at all
        self.pause, self.early_from = self.first_early, 0.0

    def admit(self, now, lease, early=False):
        """(age, early, limits) or None."""
        cooling = now < self.open and not (early and not self.limited and now >= self.early_from)
        if cooling or now < self.hold_until or now < self.lease:
            return None
        if self.open:
            self.age, self.lease = self.age + 1, now + lease
        return self.age, now < self.open, self.limits

    def release(self, ticket):
        if ticket[0] == self.age:
            self.lease = 0.0

    def fault(self, now, ticket=None, limited=False):
        if ticket and ticket[0] != self.age:
            return
        if ticket and ticket[1]:
            self.lease, self.pause = 0.0, min(2 * self.pause, 300.0)
            self.early_from = now + self.pause
            return
        self.faults += 1
        if self.faults >= self.threshold:
            self.age, self.lease, self.limited = self.age + 1, 0.0, limited
            self.open, self.early_from = now + min(self.cooldown * self.faults, self.longest), now + self.pause

    def success(self, ticket=None):
        if not ticket or ticket[0] == self.age:
            held, self.age = self.hold_until, self.age + bool(self.open)
            self.forget()
            self.hold_until = held

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
