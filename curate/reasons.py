"""The closed list of why a record, document or line goes.

A reason is a past fact in snake_case: the same string in code, counters, `dropped/*.parquet`, the report and the
docs. Its value in `CODES` is stable for ever: verdicts travel as uint8 arrays in which 0 means kept.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a record or document was dropped; the docstring of each rule gives its source."""

    # reading
    not_a_page = "not_a_page"  # a request, metadata, warcinfo, revisit ... record
    not_success = "not_success"  # an HTTP status other than 200
    not_text = "not_text"  # a content type that holds no text: image, PDF, archive ...
    redirect = "redirect"  # a wiki page that only points to another
    not_an_article = "not_an_article"  # a wiki page outside the article namespace
    empty_page = "empty_page"  # no bytes
    too_large = "too_large"  # over the page size limit
    # links
    self_post = "self_post"  # a submission without an outbound link
    low_karma = "low_karma"
    over_18 = "over_18"
    unusable_url = "unusable_url"  # no http(s) URL, or no host
    excluded_domain = "excluded_domain"  # Wikipedia is a source of its own (GPT-2, section 2.1)
    repeated_link = "repeated_link"  # a further submission of a URL that is already listed
    # url and text
    blocked_url = "blocked_url"
    no_text = "no_text"  # the extractor found no main text
    language_not_wanted = "language_not_wanted"
    language_uncertain = "language_uncertain"
    # Gopher quality
    too_few_words = "too_few_words"
    too_many_words = "too_many_words"
    words_too_short = "words_too_short"
    words_too_long = "words_too_long"
    too_many_symbols = "too_many_symbols"
    too_many_ellipses = "too_many_ellipses"
    too_many_bullet_lines = "too_many_bullet_lines"
    too_many_ellipsis_lines = "too_many_ellipsis_lines"
    too_few_alphabetic_words = "too_few_alphabetic_words"
    too_few_stop_words = "too_few_stop_words"
    # Gopher repetition
    duplicate_lines = "duplicate_lines"
    duplicate_paragraphs = "duplicate_paragraphs"
    duplicate_line_chars = "duplicate_line_chars"
    duplicate_paragraph_chars = "duplicate_paragraph_chars"
    top_2_gram = "top_2_gram"
    top_3_gram = "top_3_gram"
    top_4_gram = "top_4_gram"
    duplicate_5_grams = "duplicate_5_grams"
    duplicate_6_grams = "duplicate_6_grams"
    duplicate_7_grams = "duplicate_7_grams"
    duplicate_8_grams = "duplicate_8_grams"
    duplicate_9_grams = "duplicate_9_grams"
    duplicate_10_grams = "duplicate_10_grams"
    # C4
    too_few_sentences = "too_few_sentences"
    lorem_ipsum = "lorem_ipsum"
    curly_bracket = "curly_bracket"
    bad_word = "bad_word"
    # FineWeb
    too_few_ended_lines = "too_few_ended_lines"
    too_many_short_lines = "too_many_short_lines"
    too_many_repeated_chars = "too_many_repeated_chars"
    too_many_newlines = "too_many_newlines"
    # later stages
    low_quality = "low_quality"  # the Pareto draw of GPT-3, appendix A
    exact_duplicate = "exact_duplicate"
    near_duplicate = "near_duplicate"
    contaminated = "contaminated"  # in too many pieces after the cuts (GPT-3, appendix C)
    not_needed = "not_needed"  # left out by the mixture's weights
    # training examples of a classifier
    not_drawn = "not_drawn"
    # C4's page rules that are off by default
    too_many_chars = "too_many_chars"  # C4's code
    too_many_cut_words = "too_many_cut_words"  # RefinedWeb, appendix G.2


class LineReason(StrEnum):
    """Why a line was cut from a document that may stay."""

    no_end_mark = "no_end_mark"
    too_few_words = "too_few_words"
    long_word = "long_word"
    javascript = "javascript"
    policy = "policy"


KEPT = 0
CODES: dict[Reason, int] = {reason: code for code, reason in enumerate(Reason, start=1)}
BY_CODE: dict[int, Reason] = {code: reason for reason, code in CODES.items()}
