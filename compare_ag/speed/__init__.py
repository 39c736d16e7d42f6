"""Speed: the schedule of timed blocks and the statistics over launches. Pure: numbers in, numbers out.

Knows neither workers nor clocks; randomness comes in as a generator.

    schedule     block length, order, weights; when to stop
    blocks       which blocks count, and what they make of a launch
    statistics   from blocks to one number per launch, from launches to an interval
    student      the quantiles behind the intervals
    verdicts     from intervals to words, held back by the noise floor
    costs        steps until steady, what is paid before, break-even
    stability    what about the measurement should make the reader careful
"""
