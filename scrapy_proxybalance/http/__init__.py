"""What HTTP messages say, by status, headers and body: whose fault a response was, when to come back.

No framework, no clock and no state: messages are anything with the fields of :mod:`.messages`.
"""
