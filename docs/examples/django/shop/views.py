"""The page of a user, and the button on it that orders something."""

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from shop.models import Order
from shop.notifications import tell


@login_required
def orders(request: HttpRequest) -> HttpResponse:
    return render(request, "orders.html")


@login_required
@require_POST
@transaction.atomic
def order(request: HttpRequest) -> HttpResponse:
    """Take an order and ship it at once."""
    order = Order.objects.create(buyer=request.user, shipped=True)
    tell(request.user, "order.shipped", {"order": order.pk}, id=f"order-{order.pk}-shipped")
    return HttpResponse(status=204)
