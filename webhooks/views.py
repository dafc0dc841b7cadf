from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from webhooks.receiver import receive


@csrf_exempt
def webhook(request: HttpRequest) -> HttpResponse:
    answer = receive(request.META, request.META["wsgi.input"].read)
    return HttpResponse(answer.body, "application/json", answer.status, headers=dict(answer.headers))
