"""The page with a user's orders, and the button that ships one."""

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST

from shop.models import Order
from shop.notifications import tell


@login_required
def orders(request: HttpRequest) -> HttpResponse:
    return render(request, "orders.html", {"orders": Order.objects.filter(buyer=request.user)})


@login_required
@require_POST
@transaction.atomic
def ship(request: HttpRequest, number: int) -> HttpResponse:
    order = get_object_or_404(Order, pk=number)
    order.shipped = True
    order.save()
    tell(order.buyer, "order.shipped", {"order": order.pk}, id=f"order-{order.pk}-shipped")
    return HttpResponse(status=204)
