import ssl

import pytest
import urllib3
from django.utils.http import http_date

from pusherable.conf import Service
from pusherable.diagnosis import Answer, explain_answer, explain_silence

#: 2013-09-29 08:46:33 UTC.
NOW = 1_380_444_393.0

OWN = Service(
    app_id="3", key="k", secret="the-secret", cluster="mt1", host="push.example", port=80, ssl=False, timeout=5.0
)
HOSTED = Service(
    app_id="3", key="k", secret="the-secret", cluster="eu", host="api-eu.pusher.com", port=443, ssl=True, timeout=5.0
)


def explain(status, text="it says\nwhy\n", *, service=OWN, **headers):
    return explain_answer(Answer(status, text, **headers), service, now=NOW)


class TestExplainAnswer:
    @pytest.mark.parametrize(
        ("status", "reason", "retryable", "advice"),
        [
            (400, "bad-request", False, "The event was refused."),
            (401, "unauthorized", False, "Check PUSHER_KEY and PUSHER_SECRET."),
            (403, "forbidden", False, "The app is disabled or over its quota."),
            (404, "not-found", False, "Has that service an app 3? Check PUSHER_APP_ID and PUSHER_HOST."),
            (413, "too-large", False, "Publish fewer fields."),
            (429, "rate-limited", True, "Too many events at once."),
            (503, "service-error", True, "The service is in trouble."),
            (
                302,
                "bad-answer",
                False,
                "Is it really a Pusher service? Check PUSHER_HOST, PUSHER_PORT and PUSHER_SSL.",
            ),
        ],
    )
    def test_status_says_what_to_mend(self, status, reason, retryable, advice):
        error = explain(status)
        assert (error.reason, error.status, error.retryable) == (reason, status, retryable)
        assert str(error) == f"http://push.example:80 answered {status}: it says why. {advice}"

    def test_hosted_service_names_its_cluster(self):
        assert str(explain(404, "unknown app", service=HOSTED)) == (
            "https://api-eu.pusher.com:443 answered 404: unknown app. Has the cluster eu an app 3? Check "
            "PUSHER_APP_ID and PUSHER_CLUSTER."
        )

    def test_secret_is_not_shown(self):
        assert "the-secret" not in str(explain(401, "your the-secret is wrong"))

    @pytest.mark.parametrize(
        ("service", "text", "advice"),
        [
            (
                OWN,
                'Invalid signature: you should have sent HmacSHA256Hex("POST\\n/apps/3/events\\nauth_key=k", '
                'your_secret_key), but you sent "0"',
                "PUSHER_SECRET is not the secret that belongs to PUSHER_KEY.",
            ),
            (
                OWN,
                "The app 3 has no key k",
                "PUSHER_KEY is not known there: it has to belong to PUSHER_APP_ID and PUSHER_HOST.",
            ),
            (
                HOSTED,
                "Unknown auth_key: k",
                "PUSHER_KEY is not known there: it has to belong to PUSHER_APP_ID and PUSHER_CLUSTER.",
            ),
            (OWN, "", "Check PUSHER_KEY and PUSHER_SECRET."),
        ],
    )
    def test_credentials_that_are_wrong_name_their_setting(self, service, text, advice):
        """B.9."""
        error = explain(401, text, service=service, date=http_date(NOW))
        assert error.reason == "unauthorized"
        assert str(error).endswith(f". {advice}")


class TestClock:
    @pytest.mark.parametrize(
        ("given", "there", "offset"),
        [
            ("2013-09-29T08:46:33Z", "2013-09-29T08:36:32Z", "10 min 1 s ahead of"),
            ("2013-09-29T08:36:32Z", "2013-09-29T10:37:32Z", "2 h 1 min behind"),
            ("2013-09-29T08:36:32Z", "2013-09-30T08:36:32Z", "24 h behind"),
        ],
    )
    def test_words_of_the_hosted_service_tell_by_how_much(self, given, there, offset):
        """B.8."""
        text = f"Timestamp expired: Given timestamp ({given}) not within 600s of server time ({there})"
        error = explain(401, text)
        assert (error.reason, error.retryable) == ("clock", False)
        assert str(error) == (
            f"http://push.example:80 answered 401: {text}. It is the clock: this machine's is {offset} the service's. "
            "Set it right; the key and the secret are not at fault."
        )

    @pytest.mark.parametrize(("difference", "offset"), [(-599, "9 min 59 s ahead of"), (3600, "1 h behind")])
    def test_date_of_the_answer_tells_it_where_there_are_no_words(self, difference, offset):
        error = explain(401, "Unauthorized", date=http_date(NOW + difference))
        assert error.reason == "clock"
        assert f"this machine's is {offset} the service's" in str(error)

    @pytest.mark.parametrize("date", [http_date(NOW - 598), "", "yesterday", "Sun, 99 Sep 2013 08:46:33 GMT"])
    def test_clock_that_is_right_or_unknown_is_not_blamed(self, date):
        assert explain(401, "Unauthorized", date=date).reason == "unauthorized"

    def test_wrong_signature_is_not_the_clocks_fault(self):
        assert explain(401, "Invalid signature", date=http_date(NOW - 3600)).reason == "unauthorized"

    @pytest.mark.parametrize("there", ["soon", "2013-09-29T08:36:32"])
    def test_times_that_cannot_be_read_leave_the_date(self, there):
        text = f"Timestamp expired: Given timestamp (2013-09-29T08:46:33Z) not within 600s of server time ({there})"
        assert explain(401, text, date=http_date(NOW - 3600)).reason == "clock"


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("retry_after", "date", "seconds"),
        [
            ("7", "", 7.0),
            ("0", "", 0.0),
            ("86400", "", 60.0),
            ("9" * 5000, "", 60.0),
            (http_date(NOW + 20), "", 20.0),
            (http_date(NOW - 20), "", 0.0),
            (http_date(NOW + 86_400), "", 60.0),
            (http_date(NOW + 3620), http_date(NOW + 3600), 20.0),
            (" 7 ", "", 7.0),
            ("", "", None),
            ("-1", "", None),
            ("soon", "", None),
        ],
    )
    def test_it_is_read_and_bounded(self, retry_after, date, seconds):
        assert explain(503, retry_after=retry_after, date=date).retry_after == seconds

    def test_it_says_nothing_where_nothing_can_heal(self):
        assert explain(400, retry_after="7").retry_after is None


class TestExplainSilence:
    def test_connection_that_ends_within_tls_may_heal(self):
        hung_up = urllib3.exceptions.SSLError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol"))
        error = explain_silence(hung_up, HOSTED)
        assert (error.reason, error.retryable) == ("unreachable", True)

    def test_timeout_through_a_proxy_is_one(self):
        timeout = urllib3.exceptions.ConnectTimeoutError(None, "slow")
        error = explain_silence(urllib3.exceptions.ProxyError("proxy", timeout), OWN)
        assert (error.reason, error.retryable) == ("timeout", True)
        assert str(error) == "http://push.example:80 did not answer within 5 s (PUSHER_TIMEOUT)."
